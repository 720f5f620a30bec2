//! Jobs and CronJobs.

use model::names;
use model::selector::LabelSelector;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::{failure_policy, name_warning, selected, warnings_of_template};
use crate::field::{Errors, FieldError};
use crate::rules::at::{At, same};
use crate::rules::kind::{Kind, is_status};
use crate::rules::pod::{default_template, drop_disabled, validate_template};
use crate::rules::{checks, fill, generic_update, internal};

const NAME: &str = "batch.kubernetes.io/job-name";
const UID: &str = "batch.kubernetes.io/controller-uid";
const OLD_NAME: &str = "job-name";
const OLD_UID: &str = "controller-uid";
/// Longest name of a CronJob: its Jobs' names add eleven characters.
const CRON_NAME_MAX: usize = 52;

/// The rules of Jobs.
pub const JOB: Kind = Kind {
    default: |object| {
        if let Some(spec) = fill::object(object, "spec") {
            job_defaults(spec);
        }
        let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
        if object.at(&["metadata", "labels"]).is_none_or(crate::rules::at::is_empty)
            && let Some(labels) = labels.filter(|labels| !crate::rules::at::is_empty(labels))
        {
            object.set(&["metadata", "labels"], labels);
        }
    },
    create: |object| {
        object.set(&["status"], json!({}));
        generate_selector(object);
        if let Some(spec) = object.pointer_mut("/spec/template/spec") {
            drop_disabled(spec, None);
        }
    },
    update: |object, old, subresource| {
        generic_update(object, old, subresource);
        if let Some(spec) = object.pointer_mut("/spec/template/spec") {
            drop_disabled(spec, old.pointer("/spec/template/spec"));
        }
    },
    validate: job,
    validate_update: Some(|errors, new, old, subresource| {
        if is_status(subresource) {
            job_status(errors, new, old);
        } else {
            job(errors, new);
            job_changes(errors, new, old);
        }
    }),
    warnings: |object, old| warnings_of_template(object, old, &["spec", "template"], true),
    fields: &["status.successful"],
    field: |object, _| object.integer(&["status", "succeeded"]).unwrap_or_default().to_string(),
    ..Kind::PLAIN
};

/// The rules of CronJobs.
pub const CRON_JOB: Kind = Kind {
    default: |object| {
        let Some(spec) = fill::object(object, "spec") else { return };
        fill::plain(spec, "concurrencyPolicy", "Allow");
        fill::pointer(spec, "suspend", false);
        fill::pointer(spec, "successfulJobsHistoryLimit", 3);
        fill::pointer(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) =
            fill::object(spec, "jobTemplate").and_then(|template| fill::object(template, "spec"))
        {
            // A template of a Job gets the Pods' defaults only; the rest comes when the Job is made.
            if let Some(pods) = fill::object(template, "template") {
                default_template(pods);
            }
        }
    },
    create: |object| {
        object.set(&["status"], json!({}));
        if let Some(spec) = object.pointer_mut("/spec/jobTemplate/spec/template/spec") {
            drop_disabled(spec, None);
        }
    },
    validate: |errors, object| {
        cron_job(errors, &object.child("spec"), None);
        let name = object.child("metadata").child("name");
        if name.text().len() > CRON_NAME_MAX {
            errors.push(name.invalid("must be no more than 52 characters"));
        }
    },
    validate_update: Some(|errors, new, old, subresource| {
        if !is_status(subresource) {
            cron_job(errors, &new.child("spec"), Some(&old.child("spec")));
        }
    }),
    warnings: |object, old| {
        let mut list = Vec::new();
        if old.is_none() {
            list.extend(name_warning(object));
        }
        list.extend(warnings_of_template(object, old, &["spec", "jobTemplate", "spec", "template"], false));
        list
    },
    ..Kind::PLAIN
};

fn job_defaults(spec: &mut Value) {
    if spec.at(&["completions"]).is_none() && spec.at(&["parallelism"]).is_none() {
        fill::pointer(spec, "completions", 1);
    }
    fill::pointer(spec, "parallelism", 1);
    let per_index = spec.at(&["backoffLimitPerIndex"]).is_some();
    fill::pointer(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    fill::pointer(spec, "completionMode", "NonIndexed");
    fill::pointer(spec, "suspend", false);
    fill::pointer(spec, "manualSelector", false);
    let policy = spec.at(&["podFailurePolicy"]).is_some();
    fill::pointer(spec, "podReplacementPolicy", if policy { "Failed" } else { "TerminatingOrFailed" });
    if let Some(policy) = fill::some(spec, "podFailurePolicy") {
        for rule in fill::items(policy, "rules") {
            fill::items(rule, "onPodConditions").for_each(|pattern| fill::plain(pattern, "status", "True"));
        }
    }
    if let Some(template) = fill::object(spec, "template") {
        default_template(template);
    }
}

/// A Job's Pods carry its name and uid, and are selected by the uid.
fn generate_selector(object: &mut Value) {
    if object.at(&["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return;
    }
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    for (label, value) in [(OLD_NAME, &name), (NAME, &name), (OLD_UID, &uid), (UID, &uid)] {
        let path = ["spec", "template", "metadata", "labels", label];
        if object.at(&path).is_none() {
            object.set(&path, value.as_str());
        }
    }
    let path = ["spec", "selector", "matchLabels", UID];
    if object.at(&path).is_none() {
        object.set(&path, uid);
    }
}

fn job(errors: &mut Errors, job: &At) {
    let (metadata, spec) = (job.child("metadata"), job.child("spec"));
    generated_selector(errors, &metadata, &spec);
    job_spec(errors, &spec);
    let selector = spec.child("selector");
    if selector.value.is_null() {
        errors.push(selector.required(""));
    } else {
        checks::label_selector(errors, &selector);
        if let Ok(selector) = LabelSelector::from_tree(Some(selector.value)) {
            selected(errors, &spec.child("template"), &selector);
        }
    }
    let completions = spec.int("completions").unwrap_or_default();
    if spec.str("completionMode") == "Indexed" && completions > 0 {
        let host = format!("{}-{}", metadata.str("name"), completions - 1);
        if !names::dns_label(&host).is_empty() {
            let words = format!("will not able to create pod with invalid DNS label: {host}");
            errors.push(metadata.child("name").invalid(words));
        }
    }
}

fn generated_selector(errors: &mut Errors, metadata: &At, spec: &At) {
    let selector = spec.child("selector");
    if spec.flag("manualSelector") || selector.value.is_null() {
        return;
    }
    let (name, uid) = (metadata.str("name"), metadata.str("uid"));
    if uid.is_empty() {
        errors.push(metadata.child("uid").required(""));
    }
    let labels = spec.child("template").child("metadata").child("labels");
    for (label, expected) in [(OLD_UID, uid), (OLD_NAME, name), (UID, uid), (NAME, name)] {
        let path = labels.path.key(label);
        match labels.value.get(label).and_then(Value::as_str) {
            None => errors.push(FieldError::required(&path, format!("must be '{expected}'"))),
            Some(actual) if actual != expected => {
                errors.push(FieldError::invalid(
                    &labels.path.key(label),
                    labels.value,
                    format!("must be '{expected}'"),
                ));
            }
            Some(_) => {}
        }
    }
    let expected = json!({(OLD_UID): uid, (OLD_NAME): name, (UID): uid, (NAME): name});
    if LabelSelector::from_tree(Some(selector.value)).is_ok_and(|selector| !selector.matches(Some(&expected)))
    {
        let shown = internal::compact("!LabelSelector", selector.value);
        errors.push(selector.invalid_shown(shown, "`selector` not auto-generated"));
    }
}

/// A Job's spec, of its own or in a CronJob.
fn job_spec(errors: &mut Errors, spec: &At) {
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    numbers.iter().for_each(|key| checks::nonnegative(errors, &spec.child(key)));
    let per_index = spec.child("backoffLimitPerIndex");
    if spec.has("maxFailedIndexes") && per_index.value.is_null() {
        errors.push(per_index.required("when maxFailedIndexes is specified"));
    }
    if let Some(manager) = spec.some("managedBy") {
        domain_prefixed_path(errors, &manager);
        checks::at_most_bytes(errors, &manager, 63);
    }
    completion_mode(errors, spec);
    if let Some(policy) = spec.some("podFailurePolicy") {
        failure_policy::check(errors, spec, &policy);
    }
    failure_policy::success(errors, spec);
    if let Some(policy) = spec.some("podReplacementPolicy") {
        if spec.has("podFailurePolicy") {
            policy.one_of(errors, &["Failed"]);
        } else {
            policy.one_of(errors, &["Failed", "TerminatingOrFailed"]);
        }
    }
    let template = spec.child("template");
    validate_template(errors, template.value, &template.path);
    let restart = template.child("spec").child("restartPolicy");
    match restart.text() {
        "" | "Always" => errors.push(restart.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.has("podFailurePolicy") => {
            errors.push(restart.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
        }
        "OnFailure" | "Never" => {}
        _ => errors.push(restart.not_supported(&["OnFailure", "Never"])),
    }
}

/// `example.com/path` (`IsDomainPrefixedPath`).
pub fn domain_prefixed_path(errors: &mut Errors, at: &At) {
    if at.text().is_empty() {
        errors.push(at.required(""));
        return;
    }
    let parts = at.text().split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty());
    let Some((host, path)) = parts else {
        errors.push(at.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")"));
        return;
    };
    errors.extend(names::dns_subdomain(host).into_iter().map(|complaint| at.invalid_as(host, complaint)));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !path.bytes().all(allowed) {
        let form = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
        errors.push(at.invalid_as(path, names::pattern_error("Invalid path", form, &[])));
    }
}

const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const INDEXED_SOFT_MAX: i64 = 100_000;
const HIGH_COMPLETIONS_MAX: i64 = 10_000;

fn completion_mode(errors: &mut Errors, spec: &At) {
    let mode = spec.child("completionMode");
    let [parallelism, failed] = ["parallelism", "maxFailedIndexes"].map(|key| spec.child(key));
    if !mode.value.is_null() {
        mode.one_of(errors, &["NonIndexed", "Indexed"]);
    }
    if mode.text() != "Indexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"].iter().filter_map(|key| spec.some(key)) {
            errors.push(field.invalid("requires indexed completion mode"));
        }
        return;
    }
    let completions = spec.int("completions");
    if completions.is_none() {
        errors.push(spec.child("completions").required("when completion mode is Indexed"));
    }
    let above = |at: &At, limit: i64| at.number().is_some_and(|number| number > limit);
    if above(&parallelism, INDEXED_PARALLELISM_MAX) {
        let words = "must be less than or equal to 100000 when completion mode is Indexed";
        errors.push(parallelism.invalid(words));
    }
    if completions.is_some_and(|completions| above(&failed, completions)) {
        errors.push(failed.invalid("must be less than or equal to completions"));
    }
    if above(&failed, INDEXED_SOFT_MAX) {
        errors.push(failed.invalid("must be less than or equal to 100000"));
    }
    if completions.is_some_and(|count| count > INDEXED_SOFT_MAX) && spec.has("backoffLimitPerIndex") {
        if failed.value.is_null() {
            errors.push(failed.required("must be specified when completions is above 100000"));
        }
        let words = "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit \
                     per index";
        for at in [&parallelism, &failed].into_iter().filter(|at| above(at, HIGH_COMPLETIONS_MAX)) {
            errors.push(at.invalid(words));
        }
    }
}

fn job_changes(errors: &mut Errors, new: &At, old: &At) {
    let (spec, before) = (new.child("spec"), old.child("spec"));
    let completions = spec.child("completions");
    let changed = completions.value != before.child("completions").value;
    if spec.str("completionMode") != "Indexed" {
        checks::immutable(errors, &completions, before.value.get("completions"));
    } else if changed && !completions.value.is_null() && completions.number() != spec.int("parallelism") {
        errors.push(completions.invalid("can only be modified in tandem with spec.parallelism"));
    }
    super::fixed_selector(errors, new, old);
    template_changes(errors, new, old);
    for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        checks::immutable(errors, &spec.child(key), before.value.get(key));
    }
}

/// A Job's template is fixed; while the Job is suspended, where its Pods go and what they need may change.
fn template_changes(errors: &mut Errors, new: &At, old: &At) {
    let status = old.child("status");
    let conditions = status.items("conditions");
    let suspended_condition =
        conditions.iter().any(|one| one.str("type") == "Suspended" && one.str("status") == "True");
    let suspended = old.child("spec").flag("suspend");
    let idle =
        (!status.has("startTime") || suspended_condition) && status.int("active").unwrap_or_default() == 0;
    let template = new.child("spec").child("template");
    let mut expected = old.child("spec").child("template").value.clone();
    if suspended && idle {
        let free = [
            &["spec", "affinity", "nodeAffinity"][..],
            &["spec", "nodeSelector"],
            &["spec", "tolerations"],
            &["spec", "schedulingGates"],
            &["metadata", "annotations"],
            &["metadata", "labels"],
        ];
        for path in free {
            match template.value.at(path) {
                Some(value) => expected.set(path, value.clone()),
                None => drop(expected.unset(path)),
            }
        }
        for key in ["containers", "initContainers"] {
            let list = template.value.items(&["spec", key]);
            let own = expected.pointer_mut(&format!("/spec/{key}")).and_then(Value::as_array_mut);
            for (container, now) in own.into_iter().flatten().zip(list) {
                if container.text(&["name"]) == now.text(&["name"])
                    && let Some(resources) = now.at(&["resources"])
                {
                    container.set(&["resources"], resources.clone());
                }
            }
        }
    }
    if !same(Some(template.value), Some(&expected)) {
        errors.push(template.invalid_shown(shown_template(template.value), checks::IMMUTABLE));
    }
}

/// A template as upstream prints it: metadata's fields as in the API, then the spec of its internal type.
fn shown_template(template: &Value) -> String {
    let mut parts = Vec::new();
    for key in ["name", "labels", "annotations"] {
        if let Some(value) =
            template.at(&["metadata", key]).filter(|value| !crate::rules::at::is_empty(value))
        {
            parts.push(format!("{key:?}:{value}"));
        }
    }
    let spec = template.get("spec").cloned().unwrap_or_default();
    parts.push(format!("\"Spec\":{}", internal::compact("PodSpec", &internal::pod_spec(&spec))));
    format!("{{{}}}", parts.join(","))
}

fn job_status(errors: &mut Errors, new: &At, old: &At) {
    let (status, before) = (new.child("status"), old.child("status"));
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        checks::nonnegative(errors, &status.child(key));
    }
    let has = |status: &At, kind: &str| {
        status.items("conditions").iter().any(|one| one.str("type") == kind && one.str("status") == "True")
    };
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if has(&before, kind) && !has(&status, kind) {
            let words = format!("cannot disable the terminal {kind}=True condition");
            errors.push(status.child("conditions").invalid_shown(String::new(), words));
        }
    }
    for (key, words) in [
        ("failed", "cannot decrease the failed counter"),
        ("succeeded", "cannot decrease the succeeded counter"),
    ] {
        if status.int(key).unwrap_or_default() < before.int(key).unwrap_or_default() {
            errors.push(status.child(key).invalid_as(status.int(key).unwrap_or_default(), words));
        }
    }
    let time = status.child("completionTime");
    if !time.value.is_null()
        && before.has("completionTime")
        && time.value != before.child("completionTime").value
    {
        errors.push(time.invalid(checks::IMMUTABLE));
    }
    let start = status.child("startTime");
    let moved = before.has("startTime") && start.value != before.child("startTime").value;
    if moved && !new.child("spec").flag("suspend") {
        errors.push(start.invalid("field is immutable for unsuspended job once set"));
    }
}

fn cron_job(errors: &mut Errors, spec: &At, old: Option<&At>) {
    let schedule = spec.child("schedule");
    if schedule.text().is_empty() {
        errors.push(schedule.required(""));
    } else {
        schedule_format(errors, &schedule, spec, old);
    }
    checks::nonnegative(errors, &spec.child("startingDeadlineSeconds"));
    let zone = spec.child("timeZone");
    if old.is_none_or(|old| old.child("timeZone").value != zone.value) {
        time_zone(errors, &zone);
    }
    spec.child("concurrencyPolicy").required_one_of(errors, &["Allow", "Forbid", "Replace"]);
    let job = spec.child("jobTemplate").child("spec");
    job_spec(errors, &job);
    if let Some(selector) = job.some("selector") {
        let shown = internal::compact("!LabelSelector", selector.value);
        errors.push(selector.invalid_shown(shown, "`selector` will be auto-generated"));
    }
    if job.flag("manualSelector") {
        errors.push(job.child("manualSelector").not_supported(&["nil", "false"]));
    }
    checks::nonnegative(errors, &spec.child("successfulJobsHistoryLimit"));
    checks::nonnegative(errors, &spec.child("failedJobsHistoryLimit"));
}

fn schedule_format(errors: &mut Errors, schedule: &At, spec: &At, old: Option<&At>) {
    let plain = match schedule.text().split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => rest.trim_start(),
        _ => schedule.text(),
    };
    if let Err(words) = super::scaling::cron_fault(plain) {
        errors.push(schedule.invalid(words));
    }
    let allowed = old.is_some_and(|old| old.str("schedule").contains("TZ"));
    if schedule.text().contains("TZ") {
        if !allowed {
            errors.push(schedule.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
        } else if spec.has("timeZone") {
            errors.push(schedule.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule"));
        }
    }
}

fn time_zone(errors: &mut Errors, zone: &At) {
    if zone.value.is_null() {
        return;
    }
    if zone.text().is_empty() {
        errors.push(zone.invalid("timeZone must be nil or non-empty string"));
        return;
    }
    let fine = |part: &str| {
        let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte));
        letters && (1..=14).contains(&part.len()) && part != "." && part != ".." && !part.starts_with('-')
    };
    if !zone.text().split('/').all(fine) {
        errors.push(zone.invalid(format!("unknown time zone {}", zone.text())));
    } else if zone.text().eq_ignore_ascii_case("local") {
        let words = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(zone.invalid(words));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    fn made(extra: Value) -> Value {
        let mut object = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": {"template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        for (key, value) in extra.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        JOB.default(&mut object);
        JOB.prepare_for_create(&mut object);
        object
    }

    #[test]
    fn jobs() {
        let fine = made(json!({}));
        assert_eq!(JOB.validate(&fine), Errors::new());
        assert_eq!(fine["spec"]["selector"]["matchLabels"], json!({(UID): "u"}));
        assert_eq!(fine["spec"]["template"]["metadata"]["labels"][OLD_NAME], "j");
        assert_eq!(fine["spec"]["backoffLimit"], 6);
        assert_eq!(fine["spec"]["podReplacementPolicy"], "TerminatingOrFailed");
        let mut changed = fine.clone();
        changed["spec"]["template"]["spec"]["nodeName"] = json!("x");
        let errors = JOB.validate_update(&changed, &fine, None);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].value.contains("\"NodeName\":\"x\""), "{}", errors[0].value);
        assert_eq!(JOB.validate(&made(json!({"completionMode": "Indexed"}))), Errors::new());
        assert_eq!(JOB.validate(&made(json!({"maxFailedIndexes": 1}))).len(), 2);
    }

    #[test]
    fn schedules() {
        let check = |schedule: &str, expected: usize| {
            let mut object = json!({"metadata": {"name": "j"}, "spec": {"schedule": schedule,
                "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
                    "containers": [{"name": "c", "image": "i"}]}}}}}});
            CRON_JOB.default(&mut object);
            let errors = CRON_JOB.validate(&object);
            assert_eq!(errors.len(), expected, "{schedule}: {errors:?}");
        };
        check("*/5 * * * *", 0);
        check("@hourly", 0);
        check("@every 1h30m", 0);
        check("0 0 1 JAN mon-fri", 0);
        check("61 * * * *", 1);
        check("* * * *", 1);
        check("TZ=UTC * * * * *", 1);
        check("", 1);
    }
}
