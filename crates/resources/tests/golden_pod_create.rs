//! Recorded answers of upstream to `POST …/pods?dryRun=All&fieldValidation=Strict`, reproduced by the same steps that
//! the API server takes: decode, default, admit (imitated here), prepare, validate.

use model::tree::TreeExt;
use model::{GroupVersionKind, Status};
use resources::registry;
use resources::rules::metadata;
use resources::rules::pod::not_acted_on;
use resources::schema::decode::{self, Expected};
use resources::schema::{FieldValidation, Format};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Cases that are answered by admission or by the handler above the decoder, which stand elsewhere: (case, who answers).
const ELSEWHERE: [(usize, &str); 5] = [
    (48, "admission: the service account does not exist"),
    (52, "admission: the priority is computed"),
    (53, "admission: the RuntimeClass does not exist"),
    (140, "admission: overhead comes from the RuntimeClass"),
    (141, "admission: the preemption policy is computed"),
];

struct Answer {
    code: u16,
    body: Value,
    warnings: Vec<String>,
}

fn refusal(status: &Status) -> Answer {
    Answer { code: status.code, body: status.to_value(), warnings: Vec::new() }
}

/// What the admission plugins of a cluster with nothing in it do to a Pod.
fn admit(pod: &mut Value) {
    let spec = pod.at_mut(&["spec"]);
    if !spec.is_object() {
        *spec = json!({});
    }
    if spec.text(&["serviceAccountName"]).is_empty() {
        spec["serviceAccountName"] = json!("default");
        spec["serviceAccount"] = json!("default");
    }
    for key in ["not-ready", "unreachable"] {
        let key = format!("node.kubernetes.io/{key}");
        let list = spec.at_mut(&["tolerations"]);
        if !list.is_array() {
            *list = json!([]);
        }
        let list = list.as_array_mut().expect("made a list above");
        let tolerated = list.iter().any(|toleration| {
            matches!(toleration.text(&["key"]), own if own == key || own.is_empty())
                && matches!(toleration.text(&["effect"]), "" | "NoExecute")
        });
        if !tolerated {
            let more =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            list.push(more);
        }
    }
    spec["priority"] = json!(0);
    spec["preemptionPolicy"] = json!("PreemptLowerPriority");
}

fn post(body: &[u8], validation: FieldValidation) -> Result<Answer, Status> {
    let kind = GroupVersionKind::new("", "v1", "Pod");
    let row = registry().by_path("", "v1", "pods").expect("pods are served");
    let expected = Expected { kind: &kind, definition: decode::definition_of(&kind) };
    let decoded = decode::decode(&expected, Format::Json, body)?;
    let mut warnings = decoded.judge(validation, &kind)?;
    let mut pod = decoded.object;
    row.rules.default(&mut pod);
    pod.set(&["metadata", "namespace"], "default");
    admit(&mut pod);
    row.rules.default(&mut pod);
    row.rules.prepare_for_create(&mut pod);
    pod.set(&["metadata", "generation"], 1);
    let mut errors =
        metadata::validate_create(&pod, true, &|name, prefix| row.rules.name_errors(name, prefix), true);
    errors.extend(row.rules.validate(&pod));
    if !errors.is_empty() {
        let causes = errors.iter().map(resources::field::FieldError::to_cause).collect();
        return Err(Status::invalid("", "Pod", pod.name(), causes));
    }
    // Fields without effect are named by this system alone.
    let own = |warning: &String| warning.ends_with(not_acted_on::TEXT);
    warnings.extend(row.rules.warnings(&pod, None).into_iter().filter(|warning| !own(warning)));
    Ok(Answer { code: 201, body: pod, warnings })
}

/// The texts in a recorded `Warning:` header.
fn recorded_warnings(case: &Value) -> Vec<String> {
    let header = case["warning"].as_str().unwrap_or_default();
    let parts = header.split("299 - \"").skip(1);
    let text = |part: &str| {
        let part = part.strip_suffix(", ").unwrap_or(part);
        part.strip_suffix('"').unwrap_or(part).replace("\\\"", "\"")
    };
    parts.map(text).collect()
}

fn clean(body: &mut Value) {
    body.unset(&["metadata", "creationTimestamp"]);
}

/// The request as it was sent: the order of its fields is that of the errors.
#[derive(serde::Deserialize)]
struct Sent<'t> {
    #[serde(borrow)]
    request: Option<&'t RawValue>,
    raw: Option<String>,
}

#[derive(serde::Deserialize)]
struct Recorded<'t> {
    #[serde(borrow)]
    cases: Vec<&'t RawValue>,
}

#[test]
fn answers_are_upstreams() {
    let recorded: Recorded = serde_json::from_str(include_str!("data/pod-create.json")).unwrap();
    let mut wrong = Vec::new();
    let (mut equal, mut elsewhere) = (0, 0);
    for (index, case) in recorded.cases.iter().enumerate() {
        let sent: Sent = serde_json::from_str(case.get()).unwrap();
        let case: Value = serde_json::from_str(case.get()).unwrap();
        if let Some((_, _)) = ELSEWHERE.iter().find(|(own, _)| *own == index) {
            elsewhere += 1;
            continue;
        }
        let body = match (&sent.raw, sent.request) {
            (Some(raw), _) => raw.as_bytes().to_vec(),
            (None, request) => request.unwrap().get().as_bytes().to_vec(),
        };
        let validation = case["fieldValidation"].as_str().unwrap_or("Strict");
        let validation = FieldValidation::parse(validation).unwrap();
        let mut answer = post(&body, validation).unwrap_or_else(|status| refusal(&status));
        clean(&mut answer.body);
        let code = case["code"].as_u64().unwrap();
        let expected = if code == 201 { &case["object"] } else { &case["status"] };
        if u64::from(answer.code) != code || answer.body != *expected {
            wrong.push(format!(
                "case {index}\n  expected {code} {expected}\n  got      {} {}",
                answer.code, answer.body
            ));
        } else if answer.warnings != recorded_warnings(&case) {
            wrong.push(format!(
                "case {index}: warnings {:?}, expected {:?}",
                answer.warnings,
                recorded_warnings(&case)
            ));
        } else {
            equal += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), equal + wrong.len(), wrong.join("\n"));
    assert_eq!(equal + elsewhere, 153);
}
