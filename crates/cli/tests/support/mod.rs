//! A server in memory, and command lines against it.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use apiserver::{InProcess, Objects, Options, Server};
use cli::context::Context;
use model::UserInfo;
use stdx::clock::Clock;
use stdx::entropy::Entropy;

/// Bytes that were written.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

/// A server and a place for files.
pub struct Cluster {
    server: Arc<Server>,
    clock: Clock,
    /// Where the files are.
    pub folder: tempfile::TempDir,
}

/// What a command line did.
pub struct Ran {
    /// Exit code.
    pub code: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Cluster {
    /// Makes one.
    pub async fn new() -> Self {
        let clock = Clock::manual("2026-01-02T03:04:05Z".parse().unwrap());
        let store = Arc::new(store::memory::MemoryStore::new(clock.clone()));
        let objects = Objects::new(store, Arc::new(resources::registry().clone()));
        let options = Options::new(objects, clock.clone(), Entropy::seeded(1));
        let server = Server::open(options).await.unwrap();
        Self { server, clock, folder: tempfile::tempdir().unwrap() }
    }

    /// Writes a file.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a line; `FOLDER/` is where the files are, quotes group words.
    pub async fn run_as(&self, program: &str, line: &str, stdin: &str) -> Ran {
        let (out, err) = (Sink::default(), Sink::default());
        let stdin = Box::new(Cursor::new(stdin.as_bytes().to_vec()));
        let mut context = Context::with_streams(
            program,
            self.clock.clone(),
            Box::new(out.clone()),
            Box::new(err.clone()),
            stdin,
        );
        let admin = UserInfo {
            username: "admin".into(),
            groups: vec!["system:masters".into()],
            ..UserInfo::default()
        };
        context.transport = Some(Arc::new(InProcess::new(self.server.clone(), admin)));
        let folder = format!("{}/", self.folder.path().display());
        let words: Vec<String> =
            words(line).into_iter().map(|word| word.replace("FOLDER/", &folder)).collect();
        let code = cli::run::run(&context, &words).await;
        Ran { code, out: out.take().replace(&folder, "FOLDER/"), err: err.take().replace(&folder, "FOLDER/") }
    }

    /// Runs a line as kubectl and compares everything.
    pub async fn check(&self, line: &str, code: u8, out: &str, err: &str) {
        let ran = self.run_as("kubectl", line, "").await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, out, err), "{line}");
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
