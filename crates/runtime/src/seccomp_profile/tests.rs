//! The compiled programs, run by a small interpreter.

use super::*;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

/// Interprets a program as the kernel does.
fn run(program: &[u64], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        offset => {
            let argument = arguments[(offset as usize - 16) / 8];
            if offset % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let word = program[at];
        let (code, operand) = (word as u16, (word >> 32) as u32);
        let (if_true, if_false) = (usize::from((word >> 16) as u8), usize::from((word >> 24) as u8));
        at += 1;
        let holds = match code {
            0x20 => {
                accumulator = load(operand);
                continue;
            }
            0x54 => {
                accumulator &= operand;
                continue;
            }
            0x05 => {
                at += operand as usize;
                continue;
            }
            0x06 => return operand,
            0x15 => accumulator == operand,
            0x25 => accumulator > operand,
            0x35 => accumulator >= operand,
            other => panic!("unknown instruction {other:#x}"),
        };
        at += if holds { if_true } else { if_false };
    }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

#[test]
#[cfg(target_arch = "x86_64")]
fn default_profile_decides() {
    let plain = compile(&default_profile(0xa804_25fb));
    let admin = compile(&default_profile(u64::MAX));
    let table: [(u32, u32, u64, u32, u32, &str); 16] = [
        (X86_64, 0, 0, ALLOW, ALLOW, "read"),
        (X86_64, 56, 0x0100_0011, ALLOW, ALLOW, "clone without namespaces"),
        (X86_64, 56, 0x1000_0011, EPERM, ALLOW, "clone with a user namespace"),
        (X86_64, 56, 0x0002_0011, EPERM, ALLOW, "clone with a mount namespace"),
        (X86_64, 435, 0, ENOSYS, ALLOW, "clone3"),
        (X86_64, 272, 0, EPERM, ALLOW, "unshare"),
        (X86_64, 250, 0, EPERM, EPERM, "keyctl"),
        (X86_64, 135, 0, ALLOW, ALLOW, "personality(0)"),
        (X86_64, 135, 0x40_0000, EPERM, EPERM, "personality(ADDR_NO_RANDOMIZE)"),
        (X86_64, 41, 2, ALLOW, ALLOW, "socket(AF_INET)"),
        (X86_64, 41, 40, EPERM, EPERM, "socket(AF_VSOCK)"),
        (X86_64, 0x4000_0000, 0, ALLOW, ALLOW, "x32 read"),
        (X86_64, 0x4000_0000 + 250, 0, EPERM, EPERM, "x32 keyctl"),
        (X86, 3, 0, ALLOW, ALLOW, "x86 read"),
        (X86, 310, 0, EPERM, ALLOW, "x86 unshare"),
        (X86_64, 100_000, 0, EPERM, EPERM, "no such call"),
    ];
    for (architecture, number, argument, expected, expected_admin, name) in table {
        let arguments = [argument, 0, 0, 0, 0, 0];
        assert_eq!(run(&plain, architecture, number, arguments), expected, "{name}");
        assert_eq!(run(&admin, architecture, number, arguments), expected_admin, "{name} for an admin");
    }
    assert_eq!(run(&plain, 1, 0, [0; 6]), 0x8000_0000, "foreign architecture");
    assert!(plain.len() < 4096, "the kernel takes at most 4096 instructions, this has {}", plain.len());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn comparisons_are_64_bit() {
    use Comparison::*;
    let wide = 0x1_0000_0005_u64;
    let table = [
        (Equal, wide, 5, false),
        (Equal, wide, wide, true),
        (NotEqual, wide, 5, true),
        (NotEqual, wide, wide, false),
        (Less, wide, 5, true),
        (Less, wide, wide, false),
        (Less, wide, 0x2_0000_0000, false),
        (LessOrEqual, wide, wide, true),
        (LessOrEqual, wide, wide + 1, false),
        (Greater, wide, wide + 1, true),
        (Greater, wide, 0x2_0000_0000, true),
        (Greater, wide, wide, false),
        (GreaterOrEqual, wide, wide, true),
        (GreaterOrEqual, wide, 6, false),
        (MaskedEqual(0xff), 5, wide, true),
        (MaskedEqual(0x1_0000_0000), 0, wide, false),
    ];
    for (comparison, value, argument, holds) in table {
        let rule = |value| Rule {
            names: vec!["read".to_owned()],
            action: Action::Errno(1),
            conditions: vec![
                Condition { index: 1, comparison, value },
                Condition { index: 0, comparison: Equal, value: 7 },
            ],
        };
        let program = compile(&Profile { default: Action::Allow, rules: vec![rule(value)] });
        let expected = if holds { EPERM } else { ALLOW };
        let name = format!("{argument:#x} {comparison:?} {value:#x}");
        assert_eq!(run(&program, X86_64, 0, [7, argument, 0, 0, 0, 0]), expected, "{name}");
        assert_eq!(run(&program, X86_64, 0, [8, argument, 0, 0, 0, 0]), ALLOW, "{name}, second test fails");
    }
}

#[test]
fn files_are_read_and_bad_ones_named() {
    let profile = parse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#,
    )
    .unwrap();
    assert_eq!(profile.rules[0].action, Action::Errno(13));
    assert!(parse(r#"{"defaultAction":"SCMP_ACT_NONE"}"#).unwrap_err().contains("SCMP_ACT_NONE"));
    assert!(parse("[").is_err());
}
