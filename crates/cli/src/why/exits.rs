//! What exit codes mean.

/// The meaning of a code that is no success. `reason`: the state's (`Error`, `OOMKilled`, `StartError` …).
pub fn meaning(code: i64, reason: &str) -> String {
    if reason == "OOMKilled" {
        return "it used more memory than its limit and was killed (OOMKilled)".into();
    }
    match code {
        0 => "it ended by itself, successfully".into(),
        1 => "the program failed (1: a general error of its own)".into(),
        2 => "the program failed (2: often wrong arguments)".into(),
        125 | 128 => "the container could not be started".into(),
        126 => "its command is there but cannot be executed (126: no permission, or no program)".into(),
        127 => "its command was not found (127)".into(),
        130 => "it was interrupted (130: signal 2, SIGINT)".into(),
        134 => "it aborted itself (134: signal 6, SIGABRT)".into(),
        137 => "it was killed (137: signal 9, SIGKILL): it did not end in time when told to, or memory ran out outside its own limit".into(),
        139 => "it crashed (139: signal 11, SIGSEGV)".into(),
        143 => "it was told to end and did (143: signal 15, SIGTERM)".into(),
        255 => "the program failed (255: often an exit code of -1)".into(),
        129..=192 => format!("signal {} ended it ({code})", code - 128),
        other => format!("the program failed with its own code {other}"),
    }
}
