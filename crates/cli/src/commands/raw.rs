//! `--raw`: one request to a path, bytes as they come.

use http::Method;

use crate::command::Invocation;
use crate::failure::{Failure, message};
use crate::manifest::{self, Files};

/// Checks that a raw path is a path.
pub fn check(path: &str) -> Result<(), Failure> {
    if path.starts_with('/') || path.contains("://") {
        return Ok(());
    }
    Err(message(format!("--raw must be a valid URL path: parse {path:?}: invalid URI for request")))
}

/// `get --raw`.
pub async fn get(invocation: &Invocation<'_>, path: &str) -> Result<(), Failure> {
    let bytes = invocation.api()?.raw(path).await?;
    invocation.context.out_bytes(&bytes);
    Ok(())
}

/// `create --raw`, `replace --raw`, `delete --raw`: with the one file's bytes as the body.
pub async fn send(invocation: &Invocation<'_>, method: Method, path: &str) -> Result<(), Failure> {
    let files = Files::of(&invocation.values)?;
    let sources = manifest::read(invocation.context, &files)?;
    let body = sources.into_iter().next().map(|source| source.bytes).unwrap_or_default();
    let response =
        invocation.api()?.send(method, path, crate::api::JSON, Some((crate::api::JSON, body))).await?;
    let bytes = client::typed::read_bytes(response.into_body()).await?;
    invocation.context.out_bytes(&bytes);
    Ok(())
}
