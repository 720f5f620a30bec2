//! Device rules of cgroup v2: a small BPF program attached to the cgroup (`BPF_CGROUP_DEVICE`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::check_long;

/// One rule; the last rule that matches an access decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether the access is allowed.
    pub allow: bool,
    /// `c`, `b`, or `a` for both.
    pub kind: u8,
    /// Major number; `None` matches all.
    pub major: Option<u32>,
    /// Minor number; `None` matches all.
    pub minor: Option<u32>,
    /// Any of [`READ`], [`WRITE`], [`MKNOD`].
    pub access: u32,
}

/// Access type: make a node.
pub const MKNOD: u32 = 1;
/// Access type: read.
pub const READ: u32 = 2;
/// Access type: write.
pub const WRITE: u32 = 4;

/// Compiles rules to eBPF instructions (8 bytes each). What no rule matches is refused.
pub fn compile(rules: &[Rule]) -> Vec<u64> {
    let instruction = |code: u8, destination: u8, source: u8, offset: i16, immediate: i32| -> u64 {
        u64::from(code)
            | u64::from(destination | (source << 4)) << 8
            | u64::from(offset.cast_unsigned()) << 16
            | u64::from(immediate.cast_unsigned()) << 32
    };
    // r2 = type (low half of access_type), r3 = access (high half), r4 = major, r5 = minor; r1 is the context.
    let mut program = vec![
        instruction(0x61, 2, 1, 0, 0),
        instruction(0xbc, 3, 2, 0, 0),
        instruction(0x54, 2, 0, 0, 0xffff),
        instruction(0x74, 3, 0, 0, 16),
        instruction(0x61, 4, 1, 4, 0),
        instruction(0x61, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut tests: Vec<(u8, u8, i32)> = Vec::new();
        if rule.kind != b'a' {
            tests.push((0x56, 2, if rule.kind == b'b' { 1 } else { 2 }));
        }
        if let Some(major) = rule.major {
            tests.push((0x56, 4, major.cast_signed()));
        }
        if let Some(minor) = rule.minor {
            tests.push((0x56, 5, minor.cast_signed()));
        }
        let check_access = rule.access != (MKNOD | READ | WRITE);
        // Each block: access test (3), the tests, then the verdict (2); a failed test jumps behind the block.
        let mut remaining = tests.len() + 2 + if check_access { 3 } else { 0 };
        if check_access {
            program.push(instruction(0xbc, 1, 3, 0, 0));
            if rule.allow {
                // Everything asked for must be granted by an allowing rule.
                program.push(instruction(0x54, 1, 0, 0, (!rule.access & 7).cast_signed()));
                program.push(instruction(0x56, 1, 0, (remaining - 3) as i16, 0));
            } else {
                // Any forbidden part refuses.
                program.push(instruction(0x54, 1, 0, 0, rule.access.cast_signed()));
                program.push(instruction(0x16, 1, 0, (remaining - 3) as i16, 0));
            }
            remaining -= 3;
        }
        let tests_count = tests.len();
        for (code, register, value) in tests {
            remaining -= 1;
            program.push(instruction(code, register, 0, remaining as i16, value));
        }
        let always = tests_count == 0 && !check_access;
        program.push(instruction(0xb4, 0, 0, 0, i32::from(rule.allow)));
        program.push(instruction(0x95, 0, 0, 0, 0));
        if always {
            // The kernel refuses programs with instructions that are never reached.
            return program;
        }
    }
    program.push(instruction(0xb4, 0, 0, 0, 0));
    program.push(instruction(0x95, 0, 0, 0, 0));
    program
}

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface_index: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a program from [`compile`] and attaches it to a cgroup directory; it stays until the cgroup is removed.
pub fn attach(cgroup: BorrowedFd<'_>, program: &[u64]) -> io::Result<()> {
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the structure and what it points to outlive the call; the size is its own.
    let descriptor = check_long(unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>())
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    let loaded = unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) };
    let attributes = AttachAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: loaded.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
        replaced: 0,
    };
    // SAFETY: as above.
    check_long(unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attributes, size_of::<AttachAttributes>())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets a program as the kernel does.
    fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let mut registers = [0_u32; 16];
        let mut at = 0;
        loop {
            let word = program[at];
            let (code, operand) = (word as u8, (word >> 32) as u32);
            let (to, from) = (usize::from((word >> 8) as u8 & 15), usize::from((word >> 12) as u8 & 15));
            let offset = usize::from((word >> 16) as u16);
            at += 1;
            match code {
                0x61 => registers[to] = [kind | (access << 16), major, minor][offset / 4],
                0xbc => registers[to] = registers[from],
                0x54 => registers[to] &= operand,
                0x74 => registers[to] >>= operand,
                0xb4 => registers[to] = operand,
                0x56 if registers[to] != operand => at += offset,
                0x16 if registers[to] == operand => at += offset,
                0x56 | 0x16 => {}
                0x95 => return registers[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let rule = |allow, kind, major, minor, access| Rule { allow, kind, major, minor, access };
        let all = READ | WRITE | MKNOD;
        let rules = [
            rule(true, b'c', None, None, MKNOD),
            rule(true, b'c', Some(1), Some(3), all),
            rule(true, b'c', Some(5), None, READ | WRITE),
            rule(false, b'c', Some(5), Some(2), WRITE),
        ];
        let program = compile(&rules);
        for (kind, access, major, minor, allowed) in [
            (2, MKNOD, 9, 9, true),
            (2, READ, 9, 9, false),
            (2, READ | WRITE, 1, 3, true),
            (1, READ, 1, 3, false),
            (2, READ | WRITE, 5, 7, true),
            (2, READ | MKNOD, 5, 7, false),
            (2, READ, 5, 2, true),
            (2, READ | WRITE, 5, 2, false),
        ] {
            assert_eq!(run(&program, kind, access, major, minor), allowed, "{kind} {access} {major}:{minor}");
        }
        let everything = compile(&[rule(false, b'c', None, None, READ), rule(true, b'a', None, None, all)]);
        assert!(run(&everything, 1, all, 8, 0));
        // Nothing stands behind the verdict that always applies: the kernel refuses unreachable instructions.
        assert_eq!(everything.len(), 8);
    }
}
