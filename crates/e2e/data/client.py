"""Creates, watches, calls and deletes a Pod by the Python library `kubernetes`. Prints what it saw, line by line."""
from kubernetes import client, config, watch
from kubernetes.stream import stream

config.load_kube_config()
api = client.CoreV1Api()
print("version", client.VersionApi().get_code().minor)
pod = client.V1Pod(
    metadata=client.V1ObjectMeta(name="snake", labels={"app": "snake"}),
    spec=client.V1PodSpec(
        termination_grace_period_seconds=1,
        containers=[client.V1Container(name="main", image="busybox:1.28",
                                       command=["sh", "-c", "echo hello; trap 'exit 0' TERM; sleep 1000 & wait"])]))
created = api.create_namespaced_pod("default", pod)
print("created", created.metadata.name, created.status.phase)
watcher = watch.Watch()
for event in watcher.stream(api.list_namespaced_pod, "default", label_selector="app=snake", timeout_seconds=60):
    ready = [c.status for c in event["object"].status.conditions or [] if c.type == "Ready"]
    if ready == ["True"]:
        print("ready")
        watcher.stop()
answer = stream(api.connect_get_namespaced_pod_exec, "snake", "default", command=["sh", "-c", "echo out; echo err >&2"],
                stderr=True, stdin=False, stdout=True, tty=False)
print("exec", sorted(answer.split()))
print("logs", api.read_namespaced_pod_log("snake", "default").strip())
print("listed", [item.metadata.name for item in api.list_namespaced_pod("default").items])
api.patch_namespaced_pod("snake", "default", {"metadata": {"annotations": {"a": "b"}}})
print("patched", api.read_namespaced_pod("snake", "default").metadata.annotations["a"])
try:
    api.create_namespaced_pod("default", pod)
except client.ApiException as error:
    print("twice", error.status, error.reason)
api.delete_namespaced_pod("snake", "default")
for event in watcher.stream(api.list_namespaced_pod, "default", label_selector="app=snake", timeout_seconds=60):
    if event["type"] == "DELETED":
        print("deleted")
        watcher.stop()
