//! What the daemon asks, each handed to its part.

use std::os::fd::{AsFd, OwnedFd};

use super::event_loop::Loop;
use super::pause::FirstProcess;
use crate::protocol::{Answer, Request, RequestBody, Run, VERSION};
use crate::spec::SandboxSpec;

type Outcome = Result<(Answer, Vec<OwnedFd>), String>;

fn done<T>(result: Result<T, String>) -> Outcome {
    result.map(|_| (Answer::Done, Vec::new()))
}

impl Loop {
    /// Performs a request. Starts answer later, when the program runs or has failed to.
    pub(super) fn on_request(&mut self, request: Request) {
        let id = request.id;
        let outcome = match request.body {
            RequestBody::Hello { .. } => {
                let runs = |(id, container): (&String, &super::containers::Container)| {
                    (id.clone(), container.run.clone())
                };
                let containers: Vec<(String, Run)> = self.containers.iter().map(runs).collect();
                Ok((Answer::State { version: VERSION, containers }, Vec::new()))
            }
            RequestBody::Prepare(spec) => done(self.prepare(&spec)),
            RequestBody::Configure { hostname, sysctls, shared_pid_namespace } => {
                done(self.configure(&hostname, &sysctls, shared_pid_namespace))
            }
            RequestBody::Start { container, spec } => match self.start_container(id, &container, &spec) {
                Ok(()) => return,
                Err(message) => Err(self.start_failed(&container, message)),
            },
            RequestBody::Exec(spec) => match self.start_exec(id, &spec) {
                Ok(()) => return,
                Err(message) => Err(message),
            },
            RequestBody::Signal { container, signal, all } => done(self.signal(&container, signal, all)),
            RequestBody::Attach { container, stdin, stdout, stderr } => {
                self.attach(&container, stdin, stdout, stderr)
            }
            RequestBody::Resize { container, size } => done(self.resize(&container, size)),
            RequestBody::ReopenLog { container } => done(self.reopen_log(&container)),
            RequestBody::KillExec { exec } => done(self.kill_exec(&exec)),
            RequestBody::Socket { ipv6 } => match sys::socket::tcp(ipv6) {
                Ok(socket) => {
                    let answer =
                        Answer::Streams { stdin: true, stdout: false, stderr: false, terminal: false };
                    Ok((answer, vec![socket]))
                }
                Err(error) => Err(error.to_string()),
            },
            RequestBody::Forget { container } => {
                if self.containers.get(&container).is_some_and(|container| container.run.pid != 0) {
                    Err("the container runs".to_owned())
                } else {
                    self.containers.remove(&container);
                    sys::process::trim_memory();
                    Ok((Answer::Done, Vec::new()))
                }
            }
            RequestBody::ShutDown => {
                self.shut_down();
                return;
            }
        };
        match outcome {
            Ok((answer, descriptors)) => self.answer(id, Ok(answer), descriptors),
            Err(message) => self.answer(id, Err(message), Vec::new()),
        }
    }

    /// Namespaces and the place to listen.
    fn prepare(&mut self, spec: &SandboxSpec) -> Result<(), String> {
        spec.group.enter().map_err(|error| format!("join the shims' cgroup: {error}"))?;
        let mut flags = 0;
        if spec.own_network {
            flags |= sys::process::CLONE_NEWNET | sys::process::CLONE_NEWUTS;
        }
        if spec.own_ipc {
            flags |= sys::process::CLONE_NEWIPC;
        }
        if flags != 0 {
            sys::namespace::unshare(flags).map_err(|error| format!("make the Pod's namespaces: {error}"))?;
        }
        self.records.clone_from(&spec.records);
        self.listen(&spec.socket).map_err(|error| format!("listen on {}: {error}", spec.socket.display()))
    }

    fn configure(
        &mut self,
        hostname: &str,
        sysctls: &[(String, String)],
        shared_pid_namespace: bool,
    ) -> Result<(), String> {
        if !hostname.is_empty() {
            sys::namespace::set_host_name(hostname).map_err(|error| format!("sethostname: {error}"))?;
        }
        for (name, value) in sysctls {
            let valid = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
            if !valid || name.contains("..") {
                return Err(format!("sysctl {name:?} is not a valid name"));
            }
            // A name with slashes may have dots inside a component (an interface such as eth0.1).
            let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
            std::fs::write(format!("/proc/sys/{path}"), value)
                .map_err(|error| format!("open /proc/sys/{path}: {}", super::init::words(&error)))?;
        }
        if shared_pid_namespace && self.first_process.is_none() {
            self.first_process = Some(FirstProcess::start()?);
        }
        Ok(())
    }

    /// Kills everything and ends.
    pub(super) fn shut_down(&mut self) {
        for container in self.containers.values().filter(|container| container.run.pid != 0) {
            container.kill();
        }
        if let Some(first) = &self.first_process {
            let _ = sys::process::signal_pidfd(first.pidfd.as_fd(), sys::process::SIGKILL);
        }
        self.ending = true;
    }
}
