//! Resources that are questions: access, rules, tokens, and who one is.

use std::sync::Arc;

use model::tree::TreeExt;
use model::{Cause, Status, UserInfo, time};
use serde_json::{Value, json};

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::seams::Attributes;

/// Answers a review.
///
/// # Errors
/// 422 for questions that ask nothing.
pub async fn review(context: &Arc<Context>) -> Result<Answer, Status> {
    let served = context.served()?;
    let options = decode::write_options(context, "CreateOptions")?;
    let mut review = decode::object(context, &served.kind, served.definition, options.validation).await?;
    let kind = served.kind.kind.as_str();
    review["status"] = match kind {
        "SelfSubjectReview" => {
            json!({"userInfo": serde_json::to_value(&*context.user).map_err(Status::internal)?})
        }
        "TokenReview" => token(context, &review).await?,
        "SelfSubjectRulesReview" => {
            let namespace = review.text(&["spec", "namespace"]);
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            context.server.options.authorizer.rules(&context.user, namespace).await
        }
        "SelfSubjectAccessReview" => access(context, &review, Arc::clone(&context.user), kind).await?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let user = subject(&review);
            if kind == "LocalSubjectAccessReview" {
                check_local(context, &review)?;
            }
            access(context, &review, Arc::new(user), kind).await?
        }
        _ => return Err(Status::method_not_supported()),
    };
    if kind == "SelfSubjectReview" {
        let now = time::format_seconds(context.server.options.clock.now());
        review.set(&["metadata", "creationTimestamp"], now);
    }
    Ok(Answer::Other(201, review))
}

fn subject(review: &Value) -> UserInfo {
    let spec = &review["spec"];
    let texts = |value: &Value| {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let extra = spec.get("extra").and_then(Value::as_object).into_iter().flatten();
    UserInfo {
        username: spec.text(&["user"]).to_owned(),
        uid: spec.text(&["uid"]).to_owned(),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    }
}

fn check_local(context: &Context, review: &Value) -> Result<(), Status> {
    let namespace = review.text(&["spec", "resourceAttributes", "namespace"]);
    if namespace != context.route.namespace {
        let text =
            format!("spec.resourceAttributes.namespace must match namespace: {}", context.route.namespace);
        return Err(Status::bad_request(text));
    }
    Ok(())
}

async fn access(context: &Context, review: &Value, user: Arc<UserInfo>, kind: &str) -> Result<Value, Status> {
    let spec = &review["spec"];
    let (resource, path) = (spec.at(&["resourceAttributes"]), spec.at(&["nonResourceAttributes"]));
    let fault = |field: &str, message: &str| {
        let cause =
            Cause { reason: "FieldValueInvalid".into(), message: message.into(), field: field.into() };
        Status::invalid("authorization.k8s.io", kind, "", vec![cause])
    };
    if resource.is_some() == path.is_some() {
        let text = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(fault("spec.resourceAttributes", text));
    }
    if user.username.is_empty() && user.groups.is_empty() {
        return Err(fault(
            "spec.user",
            "Invalid value: \"\": at least one of user or group must be specified",
        ));
    }
    let attributes = match (resource, path) {
        (Some(resource), _) => resource_attributes(resource, user),
        (None, Some(path)) => Attributes {
            user,
            verb: path.text(&["verb"]).to_owned(),
            path: path.text(&["path"]).to_owned(),
            ..Attributes::default()
        },
        (None, None) => Attributes::default(),
    };
    let decision = context.server.options.authorizer.authorize(&attributes).await;
    let mut status = json!({"allowed": decision.allowed && !decision.denied});
    if decision.denied {
        status["denied"] = json!(true);
    }
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    Ok(status)
}

fn resource_attributes(resource: &Value, user: Arc<UserInfo>) -> Attributes {
    let text = |name: &str| resource.text(&[name]).to_owned();
    let selector = |name: &str| {
        let raw = resource.text(&[name, "rawSelector"]);
        Some(raw.to_owned()).filter(|raw| !raw.is_empty())
    };
    Attributes {
        user,
        verb: text("verb"),
        group: text("group"),
        version: text("version"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        resource_request: true,
        label_selector: selector("labelSelector"),
        field_selector: selector("fieldSelector"),
        ..Attributes::default()
    }
}

async fn token(context: &Context, review: &Value) -> Result<Value, Status> {
    let token = review.text(&["spec", "token"]);
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = review.items(&["spec", "audiences"]).iter();
    let audiences: Vec<String> = audiences.filter_map(Value::as_str).map(str::to_owned).collect();
    let mut errors = Vec::new();
    for authenticator in &context.server.options.authenticators {
        match authenticator.review_token(token, &audiences).await {
            Ok(Some(reviewed)) => {
                let user = serde_json::to_value(&reviewed.user).map_err(Status::internal)?;
                let mut status = json!({"authenticated": true, "user": user});
                if !reviewed.audiences.is_empty() {
                    status["audiences"] = json!(reviewed.audiences);
                }
                return Ok(status);
            }
            Ok(None) => {}
            Err(status) => errors.push(status.message),
        }
    }
    let mut status = json!({"user": {}});
    match errors.as_slice() {
        [] => {}
        [one] => status["error"] = json!(one),
        many => status["error"] = json!(format!("[{}]", many.join(", "))),
    }
    Ok(status)
}
