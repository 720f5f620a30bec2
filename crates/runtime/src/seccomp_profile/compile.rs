//! From rules to a filter program.

use std::collections::BTreeMap;

use super::generated::syscalls::{NONE, SYSCALLS};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Performed.
    Allow,
    /// Fails with this `errno`.
    Errno(u16),
    /// Kills the thread.
    KillThread,
    /// Kills the process.
    KillProcess,
    /// Raises SIGSYS.
    Trap,
    /// Performed and logged.
    Log,
    /// Told to a tracer.
    Trace(u16),
}

impl Action {
    fn value(self) -> u32 {
        match self {
            Action::Allow => 0x7fff_0000,
            Action::Errno(number) => 0x0005_0000 | u32::from(number),
            Action::KillThread => 0,
            Action::KillProcess => 0x8000_0000,
            Action::Trap => 0x0003_0000,
            Action::Log => 0x7ffc_0000,
            Action::Trace(number) => 0x7ff0_0000 | u32::from(number),
        }
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `(argument & mask) == value`
    MaskedEqual(u64),
}

/// A test of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Argument number, 0 to 5.
    pub index: u8,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// Calls with the same verdict. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of calls; unknown ones are passed over, as libseccomp does for other architectures' calls.
    pub names: Vec<String>,
    /// The verdict.
    pub action: Action,
    /// Tests of arguments.
    pub conditions: Vec<Condition>,
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Verdict of calls without a rule.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;

fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> u64 {
    u64::from(code) | u64::from(if_true) << 16 | u64::from(if_false) << 24 | u64::from(operand) << 32
}

/// One architecture that a machine runs: its audit number, the column of the table, and added to call numbers.
struct Architecture {
    audit: u32,
    column: fn(&(&'static str, u32, u32, u32)) -> u32,
    /// x32 calls are x86_64 calls with this bit set.
    alternative_bit: Option<u32>,
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [Architecture; 2] = [
    Architecture { audit: 0xc000_003e, column: |row| row.1, alternative_bit: Some(0x4000_0000) },
    Architecture { audit: 0x4000_0003, column: |row| row.2, alternative_bit: None },
];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [Architecture; 1] =
    [Architecture { audit: 0xc000_00b7, column: |row| row.3, alternative_bit: None }];

/// Compiles a profile for this machine. Words are packed as `sys::seccomp::load` takes them.
pub fn compile(profile: &Profile) -> Vec<u64> {
    let mut program = vec![instruction(LOAD, 0, 0, OFFSET_ARCHITECTURE)];
    for architecture in &ARCHITECTURES {
        let body = architecture_body(profile, architecture);
        program.push(instruction(JUMP_EQUAL, 1, 0, architecture.audit));
        program.push(instruction(JUMP, 0, 0, body.len() as u32));
        program.extend(body);
    }
    // Any other architecture.
    program.push(instruction(RETURN, 0, 0, Action::KillProcess.value()));
    program
}

/// The verdict on one call number: conditional rules in order, then the unconditional one or the default.
#[derive(Clone, Default, PartialEq, Eq)]
struct Verdict<'a> {
    conditional: Vec<(&'a [Condition], Action)>,
    unconditional: Option<Action>,
}

fn architecture_body(profile: &Profile, architecture: &Architecture) -> Vec<u64> {
    let mut verdicts: BTreeMap<u32, Verdict<'_>> = BTreeMap::new();
    for rule in &profile.rules {
        for name in &rule.names {
            let Ok(row) = SYSCALLS.binary_search_by_key(&name.as_str(), |row| row.0) else { continue };
            let number = (architecture.column)(&SYSCALLS[row]);
            if number == NONE {
                continue;
            }
            for number in
                [Some(number), architecture.alternative_bit.map(|bit| number | bit)].into_iter().flatten()
            {
                let verdict = verdicts.entry(number).or_default();
                if rule.conditions.is_empty() {
                    verdict.unconditional.get_or_insert(rule.action);
                } else {
                    verdict.conditional.push((&rule.conditions, rule.action));
                }
            }
        }
    }
    let mut intervals: Vec<(u32, Verdict<'_>)> = Vec::new();
    let default = || Verdict { conditional: Vec::new(), unconditional: Some(profile.default) };
    let mut next = 0;
    for (number, mut verdict) in verdicts {
        if number > next {
            push_interval(&mut intervals, next, default());
        }
        verdict.unconditional.get_or_insert(profile.default);
        push_interval(&mut intervals, number, verdict);
        next = number + 1;
    }
    push_interval(&mut intervals, next, default());
    let mut body = vec![instruction(LOAD, 0, 0, OFFSET_NUMBER)];
    body.extend(tree(&intervals));
    body
}

/// Adds an interval, unless the one before says the same.
fn push_interval<'a>(intervals: &mut Vec<(u32, Verdict<'a>)>, start: u32, verdict: Verdict<'a>) {
    if intervals.last().is_none_or(|(_, last)| *last != verdict) {
        intervals.push((start, verdict));
    }
}

/// A balanced search tree over interval starts.
fn tree(intervals: &[(u32, Verdict<'_>)]) -> Vec<u64> {
    let [(_, verdict)] = intervals else {
        let middle = intervals.len() / 2;
        let (left, right) = (tree(&intervals[..middle]), tree(&intervals[middle..]));
        let mut code = vec![
            instruction(JUMP_GREATER_OR_EQUAL, 0, 1, intervals[middle].0),
            instruction(JUMP, 0, 0, left.len() as u32),
        ];
        code.extend(left);
        code.extend(right);
        return code;
    };
    let mut code = Vec::new();
    for (conditions, action) in &verdict.conditional {
        code.extend(conditional(conditions, *action));
    }
    code.push(instruction(RETURN, 0, 0, verdict.unconditional.unwrap_or(Action::KillProcess).value()));
    code
}

/// Returns `action` if all conditions hold, else falls through.
fn conditional(conditions: &[Condition], action: Action) -> Vec<u64> {
    let mut code = vec![instruction(RETURN, 0, 0, action.value())];
    for condition in conditions.iter().rev() {
        let mut test = test(condition, code.len() as u8);
        test.append(&mut code);
        code = test;
    }
    code
}

/// Falls through to the next instruction if the condition holds, else skips `skip` instructions.
fn test(condition: &Condition, skip: u8) -> Vec<u64> {
    let low = 16 + 8 * u32::from(condition.index);
    let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
    let load = |offset: u32| instruction(LOAD, 0, 0, offset);
    // High word first: an ordering is decided there unless the words are equal.
    let ordering = |code: u16, holds_if_greater: bool, low_true: bool| -> Vec<u64> {
        let (low_true, low_false) = if low_true { (0, skip) } else { (skip, 0) };
        let greater = if holds_if_greater { 3 } else { skip + 3 };
        let less = if holds_if_greater { skip + 2 } else { 2 };
        vec![
            load(low + 4),
            instruction(JUMP_GREATER, greater, 0, value_high),
            instruction(JUMP_EQUAL, 0, less, value_high),
            load(low),
            instruction(code, low_true, low_false, value_low),
        ]
    };
    match condition.comparison {
        Comparison::Equal => vec![
            load(low + 4),
            instruction(JUMP_EQUAL, 0, skip + 2, value_high),
            load(low),
            instruction(JUMP_EQUAL, 0, skip, value_low),
        ],
        Comparison::NotEqual => vec![
            load(low + 4),
            instruction(JUMP_EQUAL, 0, 2, value_high),
            load(low),
            instruction(JUMP_EQUAL, skip, 0, value_low),
        ],
        Comparison::MaskedEqual(mask) => vec![
            load(low + 4),
            instruction(AND, 0, 0, (mask >> 32) as u32),
            instruction(JUMP_EQUAL, 0, skip + 3, value_high),
            load(low),
            instruction(AND, 0, 0, mask as u32),
            instruction(JUMP_EQUAL, 0, skip, value_low),
        ],
        Comparison::Greater => ordering(JUMP_GREATER, true, true),
        Comparison::GreaterOrEqual => ordering(JUMP_GREATER_OR_EQUAL, true, true),
        Comparison::Less => ordering(JUMP_GREATER_OR_EQUAL, false, false),
        Comparison::LessOrEqual => ordering(JUMP_GREATER, false, false),
    }
}
