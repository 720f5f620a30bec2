//! Who asks, as whom, and whether they may.

use std::sync::Arc;

use http::request::Parts;
use model::{GroupResource, Reason, Status, UserInfo};

use super::context::Context;
use super::query::percent_decode;
use crate::seams::{Attributes, PeerCertificates};
use crate::server::Server;

/// The user of a request, after impersonation.
///
/// # Errors
/// 401 for wrong credentials, 403 for impersonation that is not allowed.
pub async fn identify(
    server: &Server,
    parts: &Parts,
    given: Option<UserInfo>,
) -> Result<Arc<UserInfo>, Status> {
    let user = match given {
        Some(user) => user,
        None => authenticate(server, parts).await?,
    };
    let user = Arc::new(user);
    if !parts.headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(user);
    }
    impersonate(server, parts, &user).await
}

async fn authenticate(server: &Server, parts: &Parts) -> Result<UserInfo, Status> {
    let none = PeerCertificates::default();
    let peer = parts.extensions.get::<PeerCertificates>().unwrap_or(&none);
    for authenticator in &server.options.authenticators {
        if let Some(user) = authenticator.authenticate(parts, peer).await? {
            return Ok(user);
        }
    }
    let bearer = parts.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match bearer.is_some_and(|text| text.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("bearer "))) {
        true => Err(Status::unauthorized()),
        false => Ok(UserInfo::anonymous()),
    }
}

/// `Impersonate-User`, `-Group`, `-Uid`, `-Extra-*`: each part is authorized by itself.
async fn impersonate(server: &Server, parts: &Parts, user: &Arc<UserInfo>) -> Result<Arc<UserInfo>, Status> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut wanted = UserInfo { username: text("impersonate-user").into(), ..UserInfo::default() };
    wanted.uid = text("impersonate-uid").into();
    for value in parts.headers.get_all("impersonate-group") {
        wanted.groups.push(value.to_str().unwrap_or_default().to_owned());
    }
    for (name, value) in &parts.headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            let values = wanted.extra.entry(percent_decode(key)).or_default();
            values.push(value.to_str().unwrap_or_default().to_owned());
        }
    }
    if wanted.username.is_empty() {
        let text = "requested impersonation without impersonating a user";
        return Err(Status::internal(text));
    }
    for attributes in impersonation_attributes(user, &wanted) {
        check(server, &attributes).await?;
    }
    Ok(Arc::new(with_groups(wanted)))
}

/// What has to be allowed before `user` may act as `wanted`.
fn impersonation_attributes(user: &Arc<UserInfo>, wanted: &UserInfo) -> Vec<Attributes> {
    let ask = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        user: Arc::clone(user),
        verb: "impersonate".into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        resource_request: true,
        ..Attributes::default()
    };
    const AUTHENTICATION: &str = "authentication.k8s.io";
    let mut all = Vec::new();
    match service_account(&wanted.username) {
        Some((namespace, name)) => all.push(ask("", "serviceaccounts", "", namespace, name)),
        None => all.push(ask("", "users", "", "", &wanted.username)),
    }
    all.extend(wanted.groups.iter().map(|group| ask("", "groups", "", "", group)));
    for (key, values) in &wanted.extra {
        all.extend(values.iter().map(|value| ask(AUTHENTICATION, "userextras", key, "", value)));
    }
    if !wanted.uid.is_empty() {
        all.push(ask(AUTHENTICATION, "uids", "", "", &wanted.uid));
    }
    all
}

fn service_account(username: &str) -> Option<(&str, &str)> {
    username.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// Adds the groups that authentication would have added.
fn with_groups(mut user: UserInfo) -> UserInfo {
    if let (Some((namespace, _)), true) = (service_account(&user.username), user.groups.is_empty()) {
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let own =
        if user.username == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !user.in_group(own) && !user.in_group("system:unauthenticated") {
        user.groups.push(own.into());
    }
    user
}

/// What an authorizer is asked about a request.
pub fn attributes(context: &Context) -> Attributes {
    let route = &context.route;
    let selecting = matches!(route.verb, "list" | "watch" | "deletecollection");
    let selector = |name: &str| selecting.then(|| context.query.get(name).map(str::to_owned)).flatten();
    Attributes {
        user: Arc::clone(&context.user),
        verb: route.verb.to_owned(),
        group: route.group.clone(),
        version: route.version.clone(),
        resource: route.plural.clone(),
        subresource: route.subresource.clone(),
        namespace: route.namespace.clone(),
        name: route.name.clone(),
        path: if route.resource_request { String::new() } else { route.path.clone() },
        resource_request: route.resource_request,
        label_selector: selector("labelSelector"),
        field_selector: selector("fieldSelector"),
    }
}

/// Asks whether the request is allowed.
///
/// # Errors
/// 403 in upstream's words.
pub async fn authorize(context: &Context) -> Result<(), Status> {
    let attributes = attributes(context);
    check(&context.server, &attributes).await?;
    // Streams opened by GET (WebSocket) need what POST (SPDY) needs.
    let streams = ["exec", "attach", "portforward"].contains(&context.route.subresource.as_str());
    if streams && context.route.verb == "get" {
        check(&context.server, &Attributes { verb: "create".into(), ..attributes }).await?;
    }
    Ok(())
}

/// Asks the authorizer.
///
/// # Errors
/// 403 in upstream's words.
pub async fn check(server: &Server, attributes: &Attributes) -> Result<(), Status> {
    let decision = server.options.authorizer.authorize(attributes).await;
    if decision.allowed && !decision.denied {
        return Ok(());
    }
    let mut why = attributes.sentence();
    if !decision.reason.is_empty() {
        why = format!("{why}: {}", decision.reason);
    }
    if !attributes.resource_request {
        let mut status = Status::new(403, Reason::Forbidden, format!("forbidden: {why}"));
        status.details = Some(Box::default());
        return Err(status);
    }
    let resource = GroupResource::new(&attributes.group, &attributes.resource);
    Err(Status::forbidden(&resource, &attributes.name, &why))
}
