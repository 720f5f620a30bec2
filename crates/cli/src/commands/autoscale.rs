//! `autoscale`: a HorizontalPodAutoscaler for a workload.

use http::Method;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::boxed;
use super::create::{self, write_query};
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::printers;

/// The command.
pub const COMMAND: Command = Command {
    name: "autoscale",
    usage: "autoscale (-f FILENAME | TYPE NAME | TYPE/NAME) [--min=MINPODS] --max=MAXPODS [--cpu=CPU] [--memory=MEMORY]",
    short: "Auto-scale a deployment, replica set, stateful set, or replication controller",
    long: "Create an autoscaler that chooses how many Pods a workload has.\n\n Something in the cluster has to act on it and to measure: carob does neither.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::SAVE_CONFIG,
        &shared::manager("kubectl-autoscale"),
        &[
            Flag::new(
                "cpu",
                Kind::Text,
                "",
                "CPU to aim at: a share of the requests (70%) or an amount (500m)",
            ),
            Flag::new("cpu-percent", Kind::Integer, "-1", ""),
            Flag::new("max", Kind::Integer, "-1", "Most Pods there may be; required"),
            Flag::new(
                "memory",
                Kind::Text,
                "",
                "Memory to aim at: a share of the requests (60%) or an amount (200Mi)",
            ),
            Flag::new("min", Kind::Integer, "-1", "Fewest Pods there may be; below 0 the server chooses"),
            Flag::new("name", Kind::Text, "", "Name of the autoscaler; otherwise the workload's"),
        ],
    ],
    required: &["max"],
    run: boxed!(run),
    ..Command::EMPTY
};

/// Kinds that can be scaled, with their groups.
const SCALED: [(&str, &str); 4] =
    [("apps", "Deployment"), ("apps", "ReplicaSet"), ("apps", "StatefulSet"), ("", "ReplicationController")];

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let (dry_run, format) = (invocation.dry_run()?, printers::outcome_format(values)?);
    let (most, least) = (values.integer("max"), values.integer("min"));
    if most < 1 {
        return Err(message(format!("--max=MAXPODS is required and must be at least 1, max: {most}")));
    }
    if most < least {
        return Err(message(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {most}, min: {least}"
        )));
    }
    let metrics = metrics(invocation)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let found = builder::objects(invocation, &api, &mapper, &choice).await?;
    if found.is_empty() {
        return Err(message("no objects passed to autoscale"));
    }
    let mut failures = Vec::new();
    for target in found {
        let made = match target.and_then(|target| autoscaler(invocation, &target, &metrics)) {
            Ok(object) if dry_run == DryRun::Client => Ok((object, "created")),
            Ok(mut object) => {
                if values.on("save-config") {
                    create::annotate(&mut object);
                }
                let path = client::Path::collection(
                    "autoscaling",
                    "v2",
                    "horizontalpodautoscalers",
                    Some(&choice.namespace),
                );
                let parameters = write_query(invocation, dry_run, "", "kubectl-autoscale");
                let sent = api.write(Method::POST, &with_query(path.as_str(), &parameters), &object).await;
                sent.map(|object| (object, "autoscaled"))
            }
            Err(failure) => Err(failure),
        };
        match made {
            Ok((object, what)) => {
                printers::outcome(invocation, &format, &object, &format!("{what}{}", dry_run.suffix()))?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

fn metrics(invocation: &Invocation<'_>) -> Result<Vec<Value>, Failure> {
    let values = &invocation.values;
    let percent = values.integer("cpu-percent");
    if values.given("cpu-percent") {
        invocation.context.err("Flag --cpu-percent has been deprecated, Use --cpu with percentage or resource quantity format (e.g., '70%' for utilization or '500m' for milliCPU).\n");
    }
    if percent > 0 && !values.text("cpu").is_empty() {
        return Err(message("--cpu-percent and --cpu are mutually exclusive"));
    }
    let mut found = Vec::new();
    let resource =
        |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    if percent > 0 {
        found.push(resource("cpu", json!({"type": "Utilization", "averageUtilization": percent})));
    }
    for (name, unit) in [("cpu", "m"), ("memory", "Mi")] {
        if !values.text(name).is_empty() {
            found.push(resource(name, aim(name, values.text(name), unit)?));
        }
    }
    Ok(found)
}

/// A share (`70%`) or an amount; without a unit it is in `unit`.
fn aim(resource: &str, text: &str, unit: &str) -> Result<Value, Failure> {
    let text = text.trim();
    if let Some(share) = text.strip_suffix('%') {
        let percent = share.parse::<i32>().ok().filter(|percent| *percent >= 0);
        let percent = percent.ok_or_else(|| message(format!("invalid percentage value: {share}")))?;
        return Ok(json!({"type": "Utilization", "averageUtilization": percent}));
    }
    let amount = match text.parse::<f64>() {
        Ok(number) => format!("{number}{unit}"),
        Err(_) => text.to_owned(),
    };
    let quantity = model::quantity::Quantity::parse(&amount)
        .map_err(|_| message(format!("invalid resource {resource} value: {text}")))?;
    Ok(json!({"type": "AverageValue", "averageValue": quantity.to_string()}))
}

fn autoscaler(invocation: &Invocation<'_>, target: &Target, metrics: &[Value]) -> Result<Value, Failure> {
    let values = &invocation.values;
    let mapping = &target.mapping;
    if !SCALED.contains(&(mapping.group.as_str(), mapping.kind.as_str())) {
        let group = if mapping.group.is_empty() { "/v1".to_owned() } else { mapping.api_version() };
        return Err(message(format!(
            "cannot autoscale a {}: could not find scale subresource for {group}, Resource={} in discovery information",
            mapping.kind, mapping.plural
        )));
    }
    let own = target.name.as_deref().unwrap_or_default();
    let name = if values.text("name").is_empty() { own } else { values.text("name") };
    let mut object = json!({
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": name},
        "spec": {
            "maxReplicas": values.integer("max"),
            "scaleTargetRef": {"apiVersion": mapping.api_version(), "kind": mapping.kind, "name": own},
        },
        "status": {"currentMetrics": null, "desiredReplicas": 0},
    });
    if values.integer("min") > 0 {
        object["spec"]["minReplicas"] = values.integer("min").into();
    }
    if !metrics.is_empty() {
        object["spec"]["metrics"] = metrics.into();
    }
    let (namespace, explicit) = invocation.namespace()?;
    if explicit {
        object.set(&["metadata", "namespace"], namespace);
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_are_shares_or_amounts() {
        for (resource, text, unit, want) in [
            ("cpu", "70%", "m", json!({"type": "Utilization", "averageUtilization": 70})),
            ("cpu", "500", "m", json!({"type": "AverageValue", "averageValue": "500m"})),
            ("cpu", "1", "m", json!({"type": "AverageValue", "averageValue": "1m"})),
            ("memory", "200Mi", "Mi", json!({"type": "AverageValue", "averageValue": "200Mi"})),
            ("memory", "512", "Mi", json!({"type": "AverageValue", "averageValue": "512Mi"})),
        ] {
            assert_eq!(aim(resource, text, unit).unwrap(), want, "{text}");
        }
        assert_eq!(aim("cpu", "-1%", "m").unwrap_err().words(), "invalid percentage value: -1");
        assert_eq!(aim("memory", "much", "Mi").unwrap_err().words(), "invalid resource memory value: much");
    }
}
