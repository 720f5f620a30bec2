//! Simple objects made of flags: `create namespace x`. What all of them share: name, flags, and how they are sent.

use http::Method;
use serde_json::{Value, json};

use super::{access, data, policies, services, token, workloads, write_query};
use crate::builder::with_query;
use crate::command::{Command, DryRun, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::printers::{self, Format, Printer};

/// The flags of everything that is made of flags, with a command's own.
macro_rules! made_flags {
    ($($flag:expr),* $(,)?) => {
        &[
            $crate::flags::shared::OUTPUT,
            $crate::flags::shared::DRY_RUN,
            $crate::flags::shared::VALIDATE,
            $crate::flags::shared::SAVE_CONFIG,
            &$crate::flags::shared::manager("kubectl-create"),
            &[$($flag),*],
        ]
    };
}
pub(crate) use made_flags;

/// The commands below `create`, in the order of their names.
pub const COMMANDS: &[Command] = &[
    access::CLUSTER_ROLE,
    access::CLUSTER_ROLE_BINDING,
    data::CONFIG_MAP,
    workloads::CRON_JOB,
    workloads::DEPLOYMENT,
    policies::INGRESS,
    workloads::JOB,
    Command {
        name: "namespace",
        aliases: &["ns"],
        usage: "namespace NAME [--dry-run=server|client|none]",
        short: "Create a namespace with the specified name",
        flags: made_flags![],
        run: boxed!(namespace),
        ..Command::EMPTY
    },
    policies::DISRUPTION_BUDGET,
    policies::PRIORITY_CLASS,
    policies::QUOTA,
    access::ROLE,
    access::ROLE_BINDING,
    data::SECRET,
    services::SERVICE,
    Command {
        name: "serviceaccount",
        aliases: &["sa"],
        usage: "serviceaccount NAME [--dry-run=server|client|none]",
        short: "Create a service account with the specified name",
        flags: made_flags![],
        run: boxed!(service_account),
        ..Command::EMPTY
    },
    token::COMMAND,
];

/// The one argument that names the object.
pub fn name<'a>(invocation: &'a Invocation<'_>) -> Result<&'a str, Failure> {
    Ok(name_and_command(invocation)?.0)
}

/// Name before `--`, command after it.
pub fn name_and_command<'a>(invocation: &'a Invocation<'_>) -> Result<(&'a str, &'a [String]), Failure> {
    let arguments = invocation.arguments();
    let count = invocation.values.before_dash.unwrap_or(arguments.len());
    match arguments.split_first() {
        Some((name, rest)) if count == 1 => Ok((name, rest)),
        _ => Err(invocation.usage(&format!("exactly one NAME is required, got {count}"))),
    }
}

/// What kind of object is made.
#[derive(Clone, Copy)]
pub struct Made {
    /// API group.
    pub group: &'static str,
    /// Plural name.
    pub plural: &'static str,
    /// Whether it lives in a namespace.
    pub namespaced: bool,
    /// Words in front of what the server says.
    pub wrap: Option<&'static str>,
}

impl Made {
    /// An object of a namespace.
    pub const fn namespaced(group: &'static str, plural: &'static str, wrap: &'static str) -> Made {
        Made { group, plural, namespaced: true, wrap: Some(wrap) }
    }

    /// An object of the cluster.
    pub const fn cluster(group: &'static str, plural: &'static str, wrap: Option<&'static str>) -> Made {
        Made { group, plural, namespaced: false, wrap }
    }
}

/// A made object: created, or as it would be sent.
pub struct Finished {
    object: Value,
    definition: Option<&'static resources::schema::Definition>,
    dry_run: DryRun,
}

impl Finished {
    /// Prints it as `-o` says.
    pub fn show(&self, invocation: &Invocation<'_>) -> Result<(), Failure> {
        let format = printers::outcome_format(&invocation.values)?;
        if let (DryRun::Client, Format::Printer(Printer::Json)) = (self.dry_run, &format) {
            invocation.context.out(&printers::json::in_field_order(&self.object, self.definition));
            return Ok(());
        }
        let what = format!("created{}", self.dry_run.suffix());
        printers::outcome(invocation, &format, &self.object, &what)
    }
}

/// Creates a made object, or only prints it.
pub async fn send(invocation: &Invocation<'_>, object: Value, made: Made) -> Result<(), Failure> {
    make(invocation, object, made, "kubectl-create").await?.show(invocation)
}

/// Creates a made object unless the run is dry. `manager` owns its fields.
pub async fn make(
    invocation: &Invocation<'_>,
    mut object: Value,
    made: Made,
    manager: &str,
) -> Result<Finished, Failure> {
    let Made { group, plural, namespaced, .. } = made;
    let (namespace, explicit) = invocation.namespace()?;
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let version = text("apiVersion").rsplit('/').next().unwrap_or("v1").to_owned();
    let definition = resources::registry()
        .by_kind(&model::GroupVersionKind::new(group, &*version, text("kind")))
        .and_then(|row| resources::schema::definition(&row.definition));
    let dry_run = invocation.dry_run()?;
    printers::outcome_format(&invocation.values)?;
    let validation = super::validation(invocation)?;
    if namespaced && explicit {
        object["metadata"]["namespace"] = namespace.as_str().into();
    }
    if invocation.values.on("save-config") {
        // What is made of flags is annotated as Go writes the type.
        let text = printers::json::compact_in_field_order(&object, definition) + "\n";
        object["metadata"]["annotations"][super::LAST_APPLIED] = text.into();
    }
    if dry_run == DryRun::Client {
        return Ok(Finished { object, definition, dry_run });
    }
    let api = invocation.api()?;
    let path = client::Path::collection(group, &version, plural, namespaced.then_some(namespace.as_str()));
    let path = with_query(path.as_str(), &write_query(invocation, dry_run, validation, manager));
    let created = api.write(Method::POST, &path, &object).await;
    let object = created.map_err(|failure| match (failure, made.wrap) {
        (Failure::Server(status), Some(words)) => message(format!("{words} {}", status.message)),
        (other, _) => other,
    })?;
    Ok(Finished { object, definition, dry_run })
}

async fn namespace(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let object = json!({
        "kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name(invocation)?}, "spec": {}, "status": {},
    });
    send(invocation, object, Made::cluster("", "namespaces", None)).await
}

async fn service_account(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let object =
        json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": name(invocation)?}});
    send(invocation, object, Made::namespaced("", "serviceaccounts", "failed to create serviceaccount:"))
        .await
}
