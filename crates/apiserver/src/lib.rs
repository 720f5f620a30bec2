//! HTTP, authentication, authorization, admission and one generic pipeline over the resource table.

pub mod admission;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod seams;
