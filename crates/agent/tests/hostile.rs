//! KubeletConfiguration files: no panic whatever is in them.

use agent::config;
use proptest::prelude::*;
use stdx::mutate::mutated_text;

const FILE: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: /etc/pods
maxPods: 50
clusterDNS: [10.43.0.10]
clusterDomain: cluster.local
cpuCFSQuotaPeriod: 100ms
podPidsLimit: 100
containerLogMaxSize: 10Mi
containerLogMaxFiles: 5
imageGCHighThresholdPercent: 85
imageMinimumGCAge: 2m0s
evictionHard: {memory.available: 100Mi, nodefs.available: 10%}
nodeStatusReportFrequency: 5m
systemReserved: {cpu: 100m, memory: 1Gi}
registerNode: true
crashLoopBackOff: {maxContainerRestartPeriod: 5m}
";

#[test]
fn the_example_is_read() {
    let (read, _) = config::parse(FILE).unwrap();
    assert_eq!((read.max_pods, read.container_log_max_bytes), (50, 10 << 20));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn configurations(seed: u64) {
        let _ = config::parse(&mutated_text(&[FILE], seed));
    }
}
