//! The program in the containers of the isolation tests: it prints what it sees and may do (see crate `probe`).
//!
//! `isolation-probe pause` waits only; `isolation-probe stay LINK…` prints and waits; `isolation-probe LINK…` prints.
//! The links are the node's namespaces, `pid:[4026531836]` for instance. `isolation-probe overwrite` tries without end to
//! write the program of whoever enters the container.

use std::io::Write;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().cloned().unwrap_or_default();
    if mode == "overwrite" {
        probe::overwrite::run(|line| {
            let _ = writeln!(std::io::stdout(), "{line}");
        });
    }
    let stays = ["pause", "stay"].contains(&mode.as_str());
    if stays {
        arguments.remove(0);
    }
    if mode != "pause" {
        let text = probe::run(&arguments).join("\n");
        let _ = writeln!(std::io::stdout(), "{text}");
    }
    if stays {
        loop {
            std::thread::park();
        }
    }
}
