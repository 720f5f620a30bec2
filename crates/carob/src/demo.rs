//! The program of the demonstration image: carob itself, as a small web server, a writer and a follower of lines. With
//! it the first steps need no registry.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use images::ImageStore;

use crate::arguments::DemoOptions;

/// Longest request that is read.
const REQUEST_BYTES_MAX: u64 = 16 << 10;

/// Makes the image, if it is not there as this program would make it. Without it everything else works all the same.
pub async fn ensure_image(images: Arc<ImageStore>) {
    if let Err(error) = images::demo::build(&images, std::path::Path::new("/proc/self/exe")).await {
        tracing::warn!(%error, "the demonstration image cannot be made");
    }
}

/// Runs a role: `serve`, `write`, `follow`.
pub fn run(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    match options.role.as_str() {
        "serve" => serve(options.port)?,
        "write" => write(options)?,
        "follow" => follow(options)?,
        other => bail!("demo {other}: wanted serve, write or follow"),
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout)] // a container's log
fn say(text: &str) {
    println!("{text}");
}

/// Serves one page. Ends by signal: as a container's first process it has to take SIGTERM itself.
fn serve(port: u16) -> anyhow::Result<()> {
    end_on_signals()?;
    let listener = TcpListener::bind(("::", port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .with_context(|| format!("cannot listen on port {port}"))?;
    say(&format!("serving on port {port}"));
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                if let Err(error) = answer(stream) {
                    say(&format!("a request failed: {error}"));
                }
            }
            Err(error) => say(&format!("a connection failed: {error}")),
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(REQUEST_BYTES_MAX));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or("-"), words.next().unwrap_or("/"));
    let (code, body) = match path {
        "/" | "/healthz" => ("200 OK", format!("Hello from {}\n", crate::address::host_name())),
        _ => ("404 Not Found", format!("there is nothing at {path}\n")),
    };
    say(&format!("{method} {path} {code}"));
    write!(
        stream,
        "HTTP/1.1 {code}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Writes a line each second, to a file or to standard output.
fn write(options: &DemoOptions) -> anyhow::Result<()> {
    end_on_signals()?;
    for number in 1u64.. {
        let line = format!("line {number} of {}", crate::address::host_name());
        match &options.file {
            None => say(&line),
            Some(path) => {
                let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
                let mut file = file.with_context(|| path.display().to_string())?;
                writeln!(file, "{line}")?;
            }
        }
        // A demonstration's pace.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Prints what is added to a file: the sidecar of `write`.
fn follow(options: &DemoOptions) -> anyhow::Result<()> {
    end_on_signals()?;
    let path = options.file.as_ref().context("follow needs --file")?;
    let mut position = 0;
    loop {
        if let Ok(mut file) = std::fs::File::open(path) {
            file.seek(SeekFrom::Start(position))?;
            let mut text = String::new();
            position += file.read_to_string(&mut text)? as u64;
            for line in text.lines() {
                say(line);
            }
        }
        // A demonstration's pace.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Ends the program on SIGTERM and SIGINT, from a thread of its own.
fn end_on_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut terminate), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(0);
        });
    });
    Ok(())
}
