//! Profiles from JSON files, in the format of the OCI runtime specification (`linux.seccomp`).

use serde::Deserialize;

use super::compile::{Action, Comparison, Condition, Profile, Rule};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileFile {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<RuleFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleFile {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<ArgumentFile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArgumentFile {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

fn action(name: &str, errno: Option<u16>) -> Result<Action, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(1)),
        other => return Err(format!("string {other} is not a valid action for seccomp")),
    })
}

fn condition(argument: &ArgumentFile) -> Result<Condition, String> {
    if argument.index > 5 {
        return Err(format!("argument index {} is above 5", argument.index));
    }
    let (comparison, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (Comparison::NotEqual, argument.value),
        "SCMP_CMP_LT" => (Comparison::Less, argument.value),
        "SCMP_CMP_LE" => (Comparison::LessOrEqual, argument.value),
        "SCMP_CMP_EQ" => (Comparison::Equal, argument.value),
        "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, argument.value),
        "SCMP_CMP_GT" => (Comparison::Greater, argument.value),
        "SCMP_CMP_MASKED_EQ" => (Comparison::MaskedEqual(argument.value), argument.value_two),
        other => return Err(format!("string {other} is not a valid operator for seccomp")),
    };
    Ok(Condition { index: argument.index, comparison, value })
}

/// Reads a profile.
pub fn parse(text: &str) -> Result<Profile, String> {
    let file: ProfileFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut rules = Vec::new();
    for rule in &file.syscalls {
        let conditions = rule.args.iter().flatten().map(condition).collect::<Result<Vec<_>, _>>()?;
        let action = action(&rule.action, rule.errno_ret)?;
        // libseccomp allows an argument once per rule; several tests of the same one mean "any of them".
        let repeated = conditions
            .iter()
            .enumerate()
            .any(|(at, one)| conditions[..at].iter().any(|other| other.index == one.index));
        let groups =
            if repeated { conditions.into_iter().map(|one| vec![one]).collect() } else { vec![conditions] };
        rules.extend(groups.into_iter().map(|conditions| Rule {
            names: rule.names.clone(),
            action,
            conditions,
        }));
    }
    Ok(Profile { default: action(&file.default_action, file.default_errno_ret)?, rules })
}
