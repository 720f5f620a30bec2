//! HTTP, authentication, authorization, admission and one generic pipeline over the resource table.
//!
//! [`Server::open`] makes a server of objects and seams; [`Server::handle`] is the pipeline; [`http::serve`] puts HTTPS
//! in front of it and [`InProcess`] is the client's transport without a network.

pub mod admission;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod discovery;
pub mod http;
pub mod in_process;
pub mod metrics;
pub mod objects;
pub mod paths;
pub mod pipeline;
pub mod routes;
pub mod seams;
pub mod server;
pub mod service_ip;
pub mod subresources;
pub mod table;
pub mod upgrade;
pub mod verbs;
pub mod websocket;

pub use in_process::InProcess;
pub use objects::Objects;
pub use server::{Options, Server, Version};
