//! What is kept free on the node: `evictionHard` of the KubeletConfiguration.
//!
//! Beyond it the node reports pressure, takes no more Pods, and allocatable is smaller by it. Upstream keeps a tenth of the
//! disk free whatever its size; here no more than [`DISK_CAP_BYTES`] are asked for unless the configuration says so: on a
//! machine of one person tens of gigabytes that are merely not a tenth of the disk are no emergency.

use model::quantity::Quantity;
use serde_json::Value;

use crate::machine::Disk;

/// Free bytes of a disk that always suffice, unless configured otherwise.
pub const DISK_CAP_BYTES: i64 = 2 << 30;

/// How much of something is kept free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// So much, in the signal's own unit (bytes, inodes).
    Amount(i64),
    /// A part of the whole, 0 to 1.
    Part(f64),
    /// A part of the whole, but no more than an amount.
    PartUpTo(f64, i64),
}

impl Threshold {
    /// The amount for a whole.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a share of bytes")]
    pub fn of(self, whole: i64) -> i64 {
        let share = |part: f64| (whole as f64 * part) as i64;
        match self {
            Self::Amount(amount) => amount,
            Self::Part(part) => share(part),
            Self::PartUpTo(part, most) => share(part).min(most),
        }
    }

    /// Reads `10%` or a quantity.
    fn parse(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| format!("{value} is not a text"))?;
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Part(percent / 100.0)),
                _ => Err(format!("{text:?} is not a percentage of 0% to 100%")),
            };
        }
        let amount = Quantity::parse(text).map_err(|error| error.to_string())?;
        match amount.value() {
            value if value >= 0 => Ok(Self::Amount(value)),
            _ => Err(format!("{text:?} is negative")),
        }
    }
}

/// What is kept free, by signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// `memory.available`.
    pub memory: Threshold,
    /// `nodefs.available`: the file system of the node's data, which holds images too.
    pub disk: Threshold,
    /// `nodefs.inodesFree`.
    pub inodes: Threshold,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            memory: Threshold::Amount(100 << 20),
            disk: Threshold::PartUpTo(0.10, DISK_CAP_BYTES),
            inodes: Threshold::Part(0.05),
        }
    }
}

impl Thresholds {
    /// Reads `evictionHard`: a signal that is not named is not watched, as upstream has it.
    ///
    /// # Errors
    /// When a signal is unknown or its value is neither a percentage nor a quantity.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let map = value.as_object().ok_or_else(|| format!("{value} is not a map"))?;
        let none = Threshold::Amount(0);
        let mut own = Self { memory: none, disk: none, inodes: none };
        for (signal, value) in map {
            let threshold = Threshold::parse(value).map_err(|problem| format!("{signal}: {problem}"))?;
            match signal.as_str() {
                "memory.available" => own.memory = threshold,
                "nodefs.available" => own.disk = threshold,
                "nodefs.inodesFree" => own.inodes = threshold,
                // Images lie on the node's file system: there is no second one to watch.
                "imagefs.available" | "imagefs.inodesFree" | "pid.available" => {}
                other => return Err(format!("unknown eviction signal {other:?}")),
            }
        }
        Ok(own)
    }

    /// Whether a disk has less left than is kept free.
    pub fn is_disk_short(&self, disk: &Disk) -> bool {
        let inodes = disk.inodes_total > 0 && disk.inodes_free < self.inodes.of(disk.inodes_total);
        disk.available_bytes < self.disk.of(disk.total_bytes) || inodes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn disk(total_gib: i64, available_gib: i64) -> Disk {
        let bytes = |gib: i64| gib << 30;
        Disk {
            total_bytes: bytes(total_gib),
            available_bytes: bytes(available_gib),
            inodes_total: 0,
            inodes_free: 0,
        }
    }

    #[test]
    fn a_large_disk_is_short_only_when_little_is_left() {
        let own = Thresholds::default();
        for (total, available, short) in [(252, 25, false), (252, 3, false), (252, 1, true), (10, 1, false)] {
            assert_eq!(own.is_disk_short(&disk(total, available)), short, "{available} of {total} GiB");
        }
        let tenth = Thresholds::parse(&json!({"nodefs.available": "10%"})).expect("thresholds");
        assert!(tenth.is_disk_short(&disk(252, 25)));
        let few_inodes = Disk { inodes_total: 1000, inodes_free: 49, ..disk(10, 9) };
        assert!(own.is_disk_short(&few_inodes));
        assert!(!tenth.is_disk_short(&few_inodes), "what is not named is not watched");
    }

    #[test]
    fn values_are_checked() {
        for (value, problem) in [
            (
                json!({"nodefs.available": "110%"}),
                "nodefs.available: \"110%\" is not a percentage of 0% to 100%",
            ),
            (json!({"memory.available": "-1"}), "memory.available: \"-1\" is negative"),
            (json!({"memory.avail": "1Gi"}), "unknown eviction signal \"memory.avail\""),
            (json!({"memory.available": 5}), "memory.available: 5 is not a text"),
        ] {
            assert_eq!(Thresholds::parse(&value).expect_err("refused"), problem);
        }
    }
}
