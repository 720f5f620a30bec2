//! Kubeconfig files: no panic whatever is in them, and what is read is written and read again.

use client::kubeconfig::Kubeconfig;
use proptest::prelude::*;
use stdx::mutate::mutated;

const FILE: &str = "apiVersion: v1
kind: Config
current-context: here
clusters:
- name: one
  cluster: {server: 'https://127.0.0.1:6443', certificate-authority: ca.crt, insecure-skip-tls-verify: false}
contexts:
- name: here
  context: {cluster: one, user: me, namespace: default}
users:
- name: me
  user:
    token: abc
    client-certificate-data: LS0tLS1CRUdJTg==
    exec: {command: x, args: [a, b]}
preferences: {}
";

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kubeconfigs(seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, mutated(&[FILE], seed)).unwrap();
        if let Ok(config) = Kubeconfig::read(&path) {
            for named in &config.contexts {
                let Some(context) = config.context(&named.name) else { continue };
                let (cluster, user) = (config.cluster(&context.cluster), config.user(&context.user));
                if let (Some(cluster), Some(user)) = (cluster, user) {
                    let _ = client::kubeconfig::tls_config(cluster, user);
                }
            }
            std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
            let again = Kubeconfig::read(&path).unwrap();
            prop_assert_eq!(serde_json::to_value(again).unwrap(), serde_json::to_value(config).unwrap());
        }
    }
}
