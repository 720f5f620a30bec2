//! Descriptions of objects as upstream lays them out.

use serde_json::json;

use super::*;

#[test]
fn a_waiting_pod_is_described_as_upstream_does() {
    let pod = json!({
        "metadata": {"name": "big", "namespace": "default"},
        "spec": {
            "priority": 0, "serviceAccountName": "default",
            "containers": [{
                "name": "c", "image": "busybox:1.28",
                "resources": {"requests": {"cpu": "500", "memory": "900Gi"}},
                "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets", "readOnly": true}],
            }],
            "volumes": [{"name": "e", "emptyDir": {}}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
        },
        "status": {"phase": "Pending", "qosClass": "Burstable", "conditions": [{"type": "PodScheduled", "status": "False"}]},
    });
    let event = json!({
        "type": "Warning", "reason": "FailedScheduling", "message": "0/1 nodes\n", "count": 3,
        "source": {"component": "default-scheduler"}, "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:03Z", "involvedObject": {},
    });
    let now = model::time::parse("2026-01-01T00:01:18Z").unwrap();
    let described = Described { object: &pod, events: Some(vec![event]), related: Vec::new(), now };
    let want = "\
Name:             big
Namespace:        default
Priority:         0
Service Account:  default
Node:             <none>
Labels:           <none>
Annotations:      <none>
Status:           Pending
IP:               
IPs:              <none>
Containers:
  c:
    Image:      busybox:1.28
    Port:       <none>
    Host Port:  <none>
    Requests:
      cpu:        500
      memory:     900Gi
    Environment:  <none>
    Mounts:
      /var/run/secrets from kube-api-access-x (ro)
Conditions:
  Type           Status
  PodScheduled   False 
Volumes:
  e:
    Type:        EmptyDir (a temporary directory that shares a pod's lifetime)
    Medium:      
    SizeLimit:   <unset>
QoS Class:       Burstable
Node-Selectors:  <none>
Tolerations:     node.kubernetes.io/not-ready:NoExecute op=Exists for 300s
Events:
  Type     Reason            Age                From               Message
  ----     ------            ----               ----               -------
  Warning  FailedScheduling  75s (x3 over 78s)  default-scheduler  0/1 nodes
";
    assert_eq!(text(&described, pod::describe), want);
}

#[test]
fn a_recorded_pod_is_described_as_recorded() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/data/kubectl.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let lines = golden["lines"].as_array().unwrap();
    let out = |line: &str| lines.iter().find(|one| one["line"] == line).unwrap()["stdout"].as_str().unwrap();
    let pod = crate::manifest::parse(out("get pod multipod -o yaml")).unwrap();
    let now = model::time::parse("2026-11-21T06:15:30Z").unwrap();
    let described = Described { object: &pod, events: None, related: Vec::new(), now };
    let want = out("describe pod multipod").split("Events:").next().unwrap();
    assert_eq!(text(&described, pod::describe), want);
}
