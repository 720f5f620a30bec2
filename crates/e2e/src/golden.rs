//! Recorded command lines of upstream's kubectl and server, and what may differ from run to run in what they print.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::masks::{Mask, Table};

/// The record.
#[derive(Debug, Deserialize)]
pub struct Golden {
    /// Files that the lines name.
    pub files: BTreeMap<String, String>,
    /// Lines in the order in which they were run.
    pub lines: Vec<Line>,
}

/// A line with its answer.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Line {
    /// Arguments, quoted as for a shell.
    pub line: String,
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The record of kubectl v1.36 against a server of v1.36.
///
/// # Panics
/// If the file is damaged.
pub fn kubectl() -> Golden {
    serde_json::from_str(include_str!("../data/kubectl.json")).expect("data/kubectl.json is JSON")
}

/// Splits a line into words as a shell does: single and double quotes, no expansions.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for character in line.chars() {
        match (quote, character) {
            (Some(own), _) if own == character => quote = None,
            (None, '\'' | '"') => (quote, open) = (Some(character), true),
            (None, ' ') => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            _ => word.push(character),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

/// What differs from run to run: expression, what stands for it. In this order.
const MASKS: [Mask; 40] = [
    // The recorded server is a downstream build with one ConfigMap more in each Pod.
    (r"(?m)^ *ConfigMapName: +openshift-service-ca.crt\n *Optional: +false\n", ""),
    (
        r"(?m)^ *- configMap:\n *items:\n *- key: service-ca.crt\n *path: service-ca.crt\n *name: openshift-service-ca.crt\n",
        "",
    ),
    (
        r#",\s*\{\s*"configMap": \{\s*"items": \[\s*\{\s*"key": "service-ca.crt",\s*"path": "service-ca.crt"\s*\}\s*\],\s*"name": "openshift-service-ca.crt"\s*\}\s*\}"#,
        "",
    ),
    // The recorded server had a cluster DNS.
    (r"(?m)^.*MissingClusterDNS.*\n?", ""),
    // Which Pod is the first to need an image depends on the moment.
    (r"(?m)^.*spec\.(initC|c)ontainers.*Pulling image .*\n?", ""),
    (
        r#"Successfully pulled image ("[^"]+") in .*bytes\."#,
        "Container image $1 already present on machine and can be accessed by the pod",
    ),
    // Identities.
    (r"sha256:[0-9a-f]{64}", "sha256:D"),
    (r"X509SHA256=[0-9a-f]{64}", "X509SHA256=D"),
    (r"[a-z]+://[0-9a-f]{64}", "containerd://C"),
    (r"[a-z]+://v?\d+\.\d+\.\d[^\s]*", "containerd://V"),
    (r#"start exec "[0-9a-f]{64}""#, r#"start exec "E""#),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "U"),
    (r"\b[0-9a-f]{32}\b", "U"),
    (r"kube-api-access-[a-z0-9]{5}\b", "kube-api-access-R"),
    (r#"("?resourceVersion"?: )"\d+""#, r#"$1"N""#),
    (r#"(\n *"?generation"?: )\d+"#, "${1}N"),
    // Times.
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "T"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "T"),
    (r"\[[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d\.\d+ \d{4}\]", "[T]"),
    (r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d UTC \d{4}\b", "T"),
    (r"(?m)^([IWE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([a-z_]+\.go):\d+\]", "$1 $2]"),
    (r"\((\d+[smhd])+ ago\)", "(A ago)"),
    (r"(\d+[smhd])+ \(x\d+ over (\d+[smhd])+\)", "A"),
    (r"\b\d+(\.\d+)?(ms|µs|s)\b", "A"),
    (r"\b(\d+[smhd])+\b", "A"),
    (r"\b\d+ +\(A ago\)", "N (A ago)"),
    // A container that ends again and again is seen as ended or as waiting.
    (r"\bCrashLoopBackOff\b", "Error"),
    // An image that cannot be had is seen as just refused or as to be tried again.
    (r"\bErrImagePull\b", "ImagePullBackOff"),
    (r"trying and failing to pull image", "image can't be pulled"),
    // Addresses and versions.
    (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(/\d+)?(:\d+)?\b", "I"),
    (r"\[::1\]:\d+", "I"),
    (r"\bv1\.3\d\.\d+[^\s]*", "V"),
    (r"Kustomize Version: v[\d.]+", "Kustomize Version: V"),
    // Where a change stands depends on the recorded server's one volume source more.
    (r"(?m)^@@ -\d+,\d+ \+\d+,\d+ @@", "@@"),
    // Facts of the machine.
    (r"\b\d{5,}(Ki)?\b", "B"),
    (r"Image size: \d+ bytes", "Image size: B bytes"),
    (r"(?m)^( +pods: +)\d+$", "${1}N"),
    (r"(?m)^( *Kernel Version: +).*$", "${1}K"),
    (r"\b\d+\.\d+\.\d+-\S+( \(amd64\))?", "K"),
    (r"\[pid \d+:tid \d+\]", "[P]"),
];

/// Pods whose containers are restarted while the lines run: their states depend on the moment.
const UNSTABLE: [&str; 4] = ["crash", "myweb", "liveness-exam", "redis"];

/// What is left to compare of an answer's text.
pub struct Masks(Table);

impl Default for Masks {
    fn default() -> Self {
        Self(Table::new(&MASKS))
    }
}

impl Masks {
    /// The text without what differs from run to run: masked, columns joined, events as a set.
    pub fn apply(&self, line: &str, text: &str) -> String {
        let mut lines: Vec<String> = self.0.apply(text).lines().map(columns).collect();
        if line.starts_with("describe") {
            lines = without_unstable(line, lines);
            lines = events_as_set(lines, |own| own == "Events:");
        } else if line.starts_with("get events") {
            lines = events_as_set(lines, |own| own.starts_with("LAST SEEN"));
        }
        lines.join("\n")
    }
}

/// A line with its columns two blanks apart, whatever their widths; its indentation stays.
fn columns(line: &str) -> String {
    let line = line.trim_end();
    let indent = line.len() - line.trim_start().len();
    let words: Vec<&str> =
        line.trim_start().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    format!("{}{}", &line[..indent], words.join("  "))
}

/// Without the containers' states and counts, for Pods that change all the time.
fn without_unstable(line: &str, lines: Vec<String>) -> Vec<String> {
    if !line.split(' ').any(|word| UNSTABLE.contains(&word)) {
        return lines;
    }
    let (mut kept, mut inside) = (Vec::new(), false);
    for line in lines {
        let word = line.trim_start();
        match word {
            _ if word.starts_with("State:") => inside = true,
            _ if word.starts_with("Ready:") && inside => inside = false,
            _ => {}
        }
        if !inside && !word.starts_with("Restart Count:") {
            kept.push(line);
        }
    }
    kept
}

/// Lines of events sorted, each once: their order depends on the moment.
fn events_as_set(mut lines: Vec<String>, is_head: impl Fn(&str) -> bool) -> Vec<String> {
    if let Some(head) = lines.iter().position(|line| is_head(line)) {
        let mut events = lines.split_off(head + 1);
        // The dashes below the columns' names have their widths.
        events.retain(|line| !line.trim_start().starts_with("--"));
        events.sort();
        events.dedup();
        lines.extend(events);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_by_a_shell() {
        let rows: [(&str, &[&str]); 4] = [
            ("get  pods", &["get", "pods"]),
            ("exec p -- sh -c \"exit 7\"", &["exec", "p", "--", "sh", "-c", "exit 7"]),
            ("-o jsonpath='{\"\\t\"}' x", &["-o", "jsonpath={\"\\t\"}", "x"]),
            ("a ''", &["a", ""]),
        ];
        for (line, expected) in rows {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn what_differs_from_run_to_run_is_masked() {
        let masks = Masks::default();
        let rows = [
            ("get pods", "crash   0/1   Error   3 (64s ago)   76s", "crash  0/1  Error  N (A ago)  A"),
            (
                "get pods",
                "crash 0/1     CrashLoopBackOff   12 (2m3s ago)   5m",
                "crash 0/1  Error  N (A ago)  A",
            ),
            ("get nodes", "node1   Ready    <none>   2m26s   v1.36.2", "node1  Ready  <none>  A  V"),
            ("get x", "podIP: 10.244.1.56", "podIP: I"),
            (
                "get x",
                "Image ID:  docker.io/a@sha256:20eefefd752481002025b19d683a98c04e065a74485f801877276364bef4ad17",
                "Image ID:  docker.io/a@sha256:D",
            ),
            (
                "describe pod x",
                "Events:\n  Type  Age\n  Normal  b  5s\n  Normal  a  7s (x4 over 9s)",
                "Events:\n  Normal  a  A\n  Normal  b  A\n  Type  Age",
            ),
            (
                "describe pod crash",
                "  State:  Running\n    Reason: x\n  Ready: True\n  Restart Count: 3",
                "  Ready: True",
            ),
        ];
        for (line, text, expected) in rows {
            assert_eq!(masks.apply(line, text), expected);
        }
    }

    #[test]
    fn the_record_is_whole() {
        let golden = kubectl();
        assert!(golden.lines.len() > 100 && golden.files.contains_key("multi.yaml"));
        let twice = Masks::default();
        for line in &golden.lines {
            let once = twice.apply(&line.line, &line.stdout);
            assert!(!once.contains("openshift"), "{}: {once}", line.line);
        }
    }
}
