//! Commands in containers: channels over a WebSocket, the terminal in raw mode, its size as it changes.

pub mod terminal;

use bytes::Bytes;
use client::transport::Upgraded;
use http::Request;
use serde_json::Value;
use stdx::entropy::Entropy;
use streams::channels::{self, Input};
use streams::websocket;
use tokio::sync::mpsc;

use crate::api::Api;
use crate::context::Context;
use crate::failure::{Failure, message};
use terminal::Terminal;

/// Chunks of standard input that may wait.
const CHUNKS_MAX: usize = 16;

/// What is connected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wires {
    /// Standard input.
    pub stdin: bool,
    /// A terminal.
    pub tty: bool,
}

/// Upgrades to a WebSocket; gives the protocol that the server chose.
pub async fn upgrade(api: &Api<'_>, path: &str, protocols: &[&str]) -> Result<(Upgraded, String), Failure> {
    use base64::Engine;
    let mut key = [0; 16];
    Entropy::system().fill(&mut key);
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let mut request = Request::get(path).body(Bytes::new()).map_err(|error| message(error.to_string()))?;
    *request.headers_mut() = websocket::request(&key, protocols);
    let upgraded = api.upgrade(request).await?;
    let chosen = websocket::accepted(upgraded.response.status(), upgraded.response.headers(), &key);
    let chosen = chosen.ok_or_else(|| {
        message("unable to upgrade connection: the server's answer does not fit the request")
    })?;
    Ok((upgraded, chosen))
}

/// Checks whether a terminal can be had: with `-t` standard input must be one.
pub fn wires(context: &Context, stdin: bool, tty: bool, quiet: bool) -> Wires {
    if !stdin || !tty {
        return Wires { stdin, tty: false };
    }
    if !terminal::is_terminal() {
        if !quiet {
            context.err("Unable to use a TTY - input is not a terminal or the right kind of file\n");
        }
        return Wires { stdin, tty: false };
    }
    Wires { stdin, tty: true }
}

/// Runs a session to its end.
pub async fn run(context: &Context, api: &Api<'_>, path: &str, wires: Wires) -> Result<(), Failure> {
    let (upgraded, protocol) = upgrade(api, path, &streams::CHANNEL_PROTOCOLS).await?;
    let half_close = protocol.starts_with("v5");
    let (sender, mut receiver) = channels::split(websocket::client(upgraded.io).await);
    // Kept until the end: dropping it gives the terminal back.
    let terminal = if wires.tty {
        Some(Terminal::raw().map_err(|error| message(format!("terminal: {error}")))?)
    } else {
        None
    };
    let mut end: Option<Value> = None;
    let reading = async {
        while let Some(input) = receiver.next().await {
            match input {
                Input::Data(channels::STDOUT, data) => context.out_bytes(&data),
                Input::Data(channels::STDERR, data) => context.err_bytes(&data),
                Input::Data(channels::ERROR, data) => {
                    end = serde_json::from_slice(&data).ok();
                    break;
                }
                _ => {}
            }
        }
    };
    let writing = write(context, sender, wires, half_close);
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    drop(terminal);
    match end {
        Some(status) => outcome(&status),
        None => Err(message("error sending request: the connection to the container broke")),
    }
}

/// Sends input and sizes; never ends by itself.
async fn write<S>(context: &Context, mut sender: channels::Sender<S>, wires: Wires, half_close: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut sizes = wires.tty.then(terminal::Sizes::new).and_then(Result::ok);
    if sizes.is_some() {
        let _ = sender.send(channels::RESIZE, &terminal::size()).await;
    }
    let mut input = wires.stdin.then(|| read_stdin(context));
    loop {
        tokio::select! {
            chunk = next(&mut input) => match chunk {
                Some(chunk) => {
                    if sender.send(channels::STDIN, &chunk).await.is_err() {
                        break;
                    }
                }
                None => {
                    input = None;
                    if half_close {
                        let _ = sender.close_channel(channels::STDIN).await;
                    }
                }
            },
            () = changed(&mut sizes) => {
                let _ = sender.send(channels::RESIZE, &terminal::size()).await;
            }
        }
    }
    // What the other end still has to say is read by the other half.
    std::future::pending::<()>().await;
}

async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

async fn changed(sizes: &mut Option<terminal::Sizes>) {
    match sizes {
        Some(sizes) => sizes.changed().await,
        None => std::future::pending().await,
    }
}

/// Standard input, read by a thread of its own: a terminal cannot be waited for otherwise.
fn read_stdin(context: &Context) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let mut stdin = context.take_stdin();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(count) = stdin.read(&mut buffer) {
            if count == 0 || sender.blocking_send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// What the final status means: success, an exit code, or words.
fn outcome(status: &Value) -> Result<(), Failure> {
    if status["status"] == "Success" {
        return Ok(());
    }
    if status["reason"] == "NonZeroExitCode" {
        let causes = status["details"]["causes"].as_array();
        let code = causes.into_iter().flatten().find(|cause| cause["reason"] == "ExitCode");
        let code = code.and_then(|cause| cause["message"].as_str()).and_then(|text| text.parse::<u8>().ok());
        return Err(match code {
            Some(code) => {
                Failure::Command { code, message: format!("command terminated with exit code {code}") }
            }
            None => message("error stream protocol error: no ExitCode cause given"),
        });
    }
    let words = status["message"].as_str().unwrap_or_default().to_owned();
    Err(message(if words.is_empty() {
        "error stream protocol error: unknown error".to_owned()
    } else {
        words
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ends_are_told_as_kubectl_does() {
        assert!(outcome(&json!({"status": "Success"})).is_ok());
        let ended = json!({"kind": "Status", "status": "Failure", "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
        let failure = outcome(&ended).unwrap_err();
        assert_eq!((failure.code(), failure.text().as_str()), (7, "command terminated with exit code 7\n"));
        let broken = json!({"metadata": {}, "status": "Failure", "message": "Internal error occurred: x"});
        assert_eq!(outcome(&broken).unwrap_err().text(), "error: Internal error occurred: x\n");
    }
}
