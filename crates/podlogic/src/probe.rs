//! Probe results counted against thresholds.

use k8s_openapi::api::core::v1::Probe;

use crate::pod::ProbeKind;

/// Consecutive results of one probe on one container instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streak {
    last: Option<bool>,
    run: i32,
}

/// What follows from a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict to publish; `None` while the threshold is not reached.
    pub verdict: Option<bool>,
    /// Stop probing until there is a new instance.
    pub hold: bool,
}

impl Streak {
    /// Counts a result.
    pub fn count(&mut self, kind: ProbeKind, probe: &Probe, success: bool) -> Outcome {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            *self = Streak { last: Some(success), run: 1 };
        }
        let threshold =
            if success { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        if self.run < threshold {
            return Outcome { verdict: None, hold: false };
        }
        let hold = kind == ProbeKind::Startup || (kind == ProbeKind::Liveness && !success);
        if hold {
            self.run = 0;
        }
        Outcome { verdict: Some(success), hold }
    }
}

/// The verdict that holds before the first result: readiness starts as not ready, liveness as alive.
pub fn initial(kind: ProbeKind) -> Option<bool> {
    match kind {
        ProbeKind::Readiness => Some(false),
        ProbeKind::Liveness => Some(true),
        ProbeKind::Startup => None,
    }
}
