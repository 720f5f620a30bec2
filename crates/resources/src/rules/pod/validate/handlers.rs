//! Probes and lifecycle handlers.

use model::names;

use super::Context;
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::checks;

/// A probe; `key` is its name in the container.
pub(super) fn probe(errors: &mut Errors, probe: &At, key: &str, grace_s: Option<i64>) {
    handler(errors, probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace_s);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        checks::nonnegative(errors, &probe.child(field));
    }
    let own_grace = probe.child("terminationGracePeriodSeconds");
    if own_grace.number().is_some_and(|seconds| seconds <= 0) {
        errors.push(own_grace.invalid("must be greater than 0"));
    }
    if key == "readinessProbe" {
        if !own_grace.value.is_null() {
            errors.push(own_grace.invalid("must not be set for readinessProbes"));
        }
        return;
    }
    let successes = probe.int("successThreshold").unwrap_or_default();
    if successes != 1 {
        errors.push(probe.child("successThreshold").invalid_as(successes, "must be 1"));
    }
}

/// A container's lifecycle.
pub(super) fn lifecycle(errors: &mut Errors, lifecycle: &At, context: &Context) {
    for key in ["postStart", "preStop"] {
        if let Some(action) = lifecycle.some(key) {
            handler(errors, &action, &["exec", "httpGet", "tcpSocket", "sleep"], context.grace_s);
        }
    }
    if let Some(signal) = lifecycle.some("stopSignal") {
        stop_signal(errors, &signal, context.os);
    }
}

fn handler(errors: &mut Errors, holder: &At, kinds: &[&str], grace_s: Option<i64>) {
    let mut count = 0;
    for (kind, action) in kinds.iter().filter_map(|kind| Some((*kind, holder.some(kind)?))) {
        count += 1;
        if count > 1 {
            errors.push(action.forbidden("may not specify more than 1 handler type"));
            continue;
        }
        match kind {
            "exec" => {
                action.require(errors, "command");
            }
            "httpGet" => http_get(errors, &action),
            "sleep" => sleep(errors, &action, grace_s),
            _ => checks::port_number_or_name(errors, &action.child("port")),
        }
    }
    if count == 0 {
        errors.push(holder.required("must specify a handler type"));
    }
}

fn http_get(errors: &mut Errors, action: &At) {
    action.require(errors, "path");
    checks::port_number_or_name(errors, &action.child("port"));
    action.child("scheme").one_of(errors, &["HTTP", "HTTPS"]);
    for header in action.items("httpHeaders") {
        for complaint in names::http_header_name(header.str("name")) {
            errors.push(action.child("httpHeaders").invalid_as(header.str("name"), complaint));
        }
    }
}

fn sleep(errors: &mut Errors, action: &At, grace_s: Option<i64>) {
    let seconds = action.int("seconds").unwrap_or_default();
    if let Some(grace_s) = grace_s.filter(|grace_s| !(0..=*grace_s).contains(&seconds)) {
        let words = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_s})");
        errors.push(action.invalid_as(seconds, words));
    }
}

const SIGNALS: [&str; 65] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

fn stop_signal(errors: &mut Errors, signal: &At, os: Option<&str>) {
    match os {
        None => errors.push(signal.forbidden("may not be set for containers with empty `spec.os.name`")),
        Some("windows") => signal.one_of(errors, &["SIGKILL", "SIGTERM"]),
        Some("linux") => signal.one_of(errors, &SIGNALS),
        Some(_) => {}
    }
}
