//! The whole server over sockets in memory, on a runtime that plays a fixed command.

mod exec;
mod forward;
mod http;
mod logs;
mod support;
mod tls;
