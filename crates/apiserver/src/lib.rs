//! HTTP, authentication, authorization, admission and one generic pipeline over the resource table.

pub mod seams;
