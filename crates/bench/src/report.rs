//! The table, and the samples behind it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::processes::Seen;
use crate::samples::{median, with_commas};

/// The lines of a document that hold the table.
const MARKS: (&str, &str) = ("<!-- measured: begin -->", "<!-- measured: end -->");

/// All samples, in the units of their names.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub starts_s: Vec<f64>,
    pub pod_ms: Vec<f64>,
    pub burst_s: Vec<f64>,
    pub idle_pss_bytes: Vec<u64>,
    /// Growth of all processes' memory per Pod, the daemon's included.
    pub pod_bytes: Vec<f64>,
    /// What of it is the daemon's.
    pub pod_daemon_bytes: Vec<f64>,
    pub idle_cpu_percent: Vec<f64>,
    pub gets_per_s: Vec<f64>,
    pub creates_per_s: Vec<f64>,
    pub lists_per_s: Vec<f64>,
    pub scheduled_per_s: Vec<f64>,
    pub binary_bytes: u64,
}

/// A row: what is measured, what upstream needed on such a machine, the aim, what carob needs here.
type Row = (&'static str, &'static str, &'static str, Option<String>);

impl Report {
    /// Notes what running Pods add.
    pub fn note_memory_of_pods(&mut self, before: &Seen, after: &Seen, pods: usize) {
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / pods as f64;
        self.pod_bytes.push(each(after.pss_bytes, before.pss_bytes));
        self.pod_daemon_bytes.push(each(after.daemon_bytes, before.daemon_bytes));
    }

    fn rows(&self) -> Vec<Row> {
        let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
        let rate = |samples: &[f64]| median(samples).map(|own| format!("{}/s", with_commas(own)));
        let bytes: Vec<f64> = self.idle_pss_bytes.iter().map(|own| *own as f64).collect();
        vec![
            (
                "start with an empty data dir → node Ready",
                "4.8 s",
                "0.3 s",
                median(&self.starts_s).map(|own| format!("{own:.2} s")),
            ),
            (
                "POST Pod → Ready seen by a watch, one at a time (median)",
                "468 ms",
                "20 ms",
                median(&self.pod_ms).map(|own| format!("{own:.1} ms")),
            ),
            (
                "50 Pods posted at once → all Ready",
                "5.98 s",
                "0.5 s",
                median(&self.burst_s).map(|own| format!("{own:.2} s")),
            ),
            ("resident memory, all parts, idle", "639 MB", "40 MB", median(&bytes).map(megabytes)),
            (
                "extra resident memory per running Pod",
                "16 MB",
                "1.5 MB",
                median(&self.pod_bytes).map(|own| format!("{:.2} MB", own / 1e6)),
            ),
            (
                "CPU, idle, no Pods",
                "4.5% of a core",
                "0.5% of a core",
                median(&self.idle_cpu_percent).map(|own| format!("{own:.1}% of a core")),
            ),
            ("GET one Pod, 16 connections, TLS + token", "4,350/s", "30,000/s", rate(&self.gets_per_s)),
            ("create ConfigMap, 16 connections, durable", "2,430/s", "10,000/s", rate(&self.creates_per_s)),
            ("LIST 500 of 19,500 ConfigMaps, 4 connections", "335/s", "3,000/s", rate(&self.lists_per_s)),
            (
                "schedule 10,000 Pods on 5,000 (simulated) nodes",
                "680–1,100/s (its CI's floor)",
                "5,000/s",
                rate(&self.scheduled_per_s),
            ),
            (
                "binary, static, stripped",
                "k3s 65 MB",
                "30 MB",
                (self.binary_bytes > 0).then(|| megabytes(self.binary_bytes as f64)),
            ),
        ]
    }

    /// The table in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from("| measure | upstream | aim | carob |\n|---|---|---|---|\n");
        for (measure, upstream, aim, carob) in self.rows() {
            let carob = carob.as_deref().unwrap_or("not measured");
            text.push_str(&format!("| {measure} | {upstream} | {aim} | {carob} |\n"));
        }
        text
    }

    /// Writes the samples to `samples.json`, and the table beside it.
    pub fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(folder.join("samples.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(folder.join("table.md"), self.table())?;
        Ok(())
    }
}

/// Puts the table between the marks of a document.
pub fn replace(document: &Path, table: &str) -> anyhow::Result<()> {
    let name = document.display();
    let text = fs::read_to_string(document).with_context(|| name.to_string())?;
    let text =
        replaced(&text, table).with_context(|| format!("{name} has no marks {} and {}", MARKS.0, MARKS.1))?;
    fs::write(document, text).with_context(|| name.to_string())
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let begin = text.find(MARKS.0)? + MARKS.0.len();
    let end = begin + text[begin..].find(MARKS.1)?;
    Some(format!("{}\n{table}{}", &text[..begin], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_replaced() {
        let text = format!("a\n{}\nold\n{}\nb\n", MARKS.0, MARKS.1);
        let expected = format!("a\n{}\nnew\n{}\nb\n", MARKS.0, MARKS.1);
        assert_eq!(replaced(&text, "new\n"), Some(expected));
        assert_eq!(replaced("none", "new\n"), None);
    }

    #[test]
    fn what_was_not_measured_is_said_so() {
        let report = Report { pod_ms: vec![9.0, 7.0, 8.0], ..Report::default() };
        let table = report.table();
        assert!(table.contains("| 20 ms | 8.0 ms |"), "{table}");
        assert!(table.contains("| 0.3 s | not measured |"), "{table}");
    }
}
