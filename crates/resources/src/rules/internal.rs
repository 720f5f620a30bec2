//! Objects in the form in which upstream prints its internal types in errors: every field of a struct, in the order and
//! with the name it has there, absent ones as null or zero. Only what such errors can show is described here.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// A value as one line of JSON, `{"Type":"Localhost","LocalhostProfile":null}`.
pub fn compact(kind: &str, value: &Value) -> String {
    let mut text = String::new();
    write_kind(&mut Writer { text: &mut text, pretty: false, depth: 0 }, kind, value);
    text
}

/// A value as JSON with one space of indentation per level.
pub fn pretty(kind: &str, value: &Value) -> String {
    let mut text = String::new();
    write_kind(&mut Writer { text: &mut text, pretty: true, depth: 0 }, kind, value);
    text
}

/// A Pod's spec in the shape of upstream's internal type: the host switches stand in the security context, the old name
/// of the service account is gone.
pub fn pod_spec(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Some(map) = spec.as_object_mut() else { return spec };
    map.remove("serviceAccount");
    let moved = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];
    let moved: Vec<(&str, Value)> = moved.iter().filter_map(|key| Some((*key, map.remove(*key)?))).collect();
    let context = map.entry("securityContext").or_insert_with(|| Value::Object(serde_json::Map::new()));
    for (key, value) in moved {
        if let Some(context) = context.as_object_mut() {
            context.insert(key.to_owned(), value);
        }
    }
    spec
}

/// One struct per line: `Name: Field=type …`. Types: `s` text, `i` number, `b` truth value, `*` pointer to one of
/// those, `[]` list of them, `{}` map, `q` quantity, `?` anything as it stands, `Name` struct, `*Name` pointer to one,
/// `[]Name` list of them; a bare `&Name` means that its fields stand here. `!` before a struct's name: its fields have
/// their names of the API and are left out when empty.
const STRUCTS: &str = "
PodSpec: Volumes=[]Volume InitContainers=[]Container Containers=[]Container \
  EphemeralContainers=[]EphemeralContainer RestartPolicy=s TerminationGracePeriodSeconds=* ActiveDeadlineSeconds=* \
  DNSPolicy=s NodeSelector={} ServiceAccountName=s AutomountServiceAccountToken=* NodeName=s \
  SecurityContext=*PodSecurityContext ImagePullSecrets=[]LocalObjectReference Hostname=s Subdomain=s \
  SetHostnameAsFQDN=* Affinity=*Affinity SchedulerName=s Tolerations=[]Toleration HostAliases=[]HostAlias \
  PriorityClassName=s Priority=* PreemptionPolicy=* DNSConfig=*PodDNSConfig ReadinessGates=[]PodReadinessGate \
  RuntimeClassName=* Overhead={} EnableServiceLinks=* TopologySpreadConstraints=[]TopologySpreadConstraint OS=*PodOS \
  SchedulingGates=[]PodSchedulingGate ResourceClaims=[]PodResourceClaim Resources=*ResourceRequirements \
  HostnameOverride=* SchedulingGroup=*PodSchedulingGroup
PodSecurityContext: HostNetwork=b HostPID=b HostIPC=b ShareProcessNamespace=* HostUsers=* \
  SELinuxOptions=*SELinuxOptions WindowsOptions=*WindowsSecurityContextOptions RunAsUser=* RunAsGroup=* \
  RunAsNonRoot=* SupplementalGroups=[] SupplementalGroupsPolicy=* FSGroup=* FSGroupChangePolicy=* Sysctls=[]Sysctl \
  SeccompProfile=*SeccompProfile AppArmorProfile=*AppArmorProfile SELinuxChangePolicy=*
Container: Name=s Image=s Command=[] Args=[] WorkingDir=s Ports=[]ContainerPort EnvFrom=[]EnvFromSource Env=[]EnvVar \
  Resources=ResourceRequirements ResizePolicy=[]ContainerResizePolicy RestartPolicy=* \
  RestartPolicyRules=[]ContainerRestartRule VolumeMounts=[]VolumeMount VolumeDevices=[]VolumeDevice \
  LivenessProbe=*Probe ReadinessProbe=*Probe StartupProbe=*Probe Lifecycle=*Lifecycle TerminationMessagePath=s \
  TerminationMessagePolicy=s ImagePullPolicy=s SecurityContext=*SecurityContext Stdin=b StdinOnce=b TTY=b
EphemeralContainer: &Container TargetContainerName=s
Probe: Exec=*ExecAction HTTPGet=*HTTPGetAction TCPSocket=*TCPSocketAction GRPC=*GRPCAction InitialDelaySeconds=i \
  TimeoutSeconds=i PeriodSeconds=i SuccessThreshold=i FailureThreshold=i TerminationGracePeriodSeconds=*
HTTPGetAction: Path=s Port=i Host=s Scheme=s HTTPHeaders=[]HTTPHeader
HTTPHeader: Name=s Value=s
TCPSocketAction: Port=i Host=s
GRPCAction: Port=i Service=*
ExecAction: Command=[]
Lifecycle: PostStart=*LifecycleHandler PreStop=*LifecycleHandler StopSignal=*
LifecycleHandler: Exec=*ExecAction HTTPGet=*HTTPGetAction TCPSocket=*TCPSocketAction Sleep=*SleepAction
SleepAction: Seconds=i
SecurityContext: Capabilities=*Capabilities Privileged=* SELinuxOptions=*SELinuxOptions \
  WindowsOptions=*WindowsSecurityContextOptions RunAsUser=* RunAsGroup=* RunAsNonRoot=* ReadOnlyRootFilesystem=* \
  AllowPrivilegeEscalation=* ProcMount=* SeccompProfile=*SeccompProfile AppArmorProfile=*AppArmorProfile
Capabilities: Add=[] Drop=[]
SELinuxOptions: User=s Role=s Type=s Level=s
WindowsSecurityContextOptions: GMSACredentialSpecName=* GMSACredentialSpec=* RunAsUserName=* HostProcess=*
SeccompProfile: Type=s LocalhostProfile=*
AppArmorProfile: Type=s LocalhostProfile=*
Volume: Name=s HostPath=*HostPathVolumeSource EmptyDir=*EmptyDirVolumeSource GCEPersistentDisk=*? \
  AWSElasticBlockStore=*? GitRepo=*GitRepoVolumeSource Secret=*SecretVolumeSource NFS=*NFSVolumeSource ISCSI=*? \
  Glusterfs=*? PersistentVolumeClaim=*PersistentVolumeClaimVolumeSource RBD=*? Quobyte=*? FlexVolume=*? Cinder=*? \
  CephFS=*? Flocker=*? DownwardAPI=*DownwardAPIVolumeSource FC=*? AzureFile=*? ConfigMap=*ConfigMapVolumeSource \
  VsphereVolume=*? AzureDisk=*? PhotonPersistentDisk=*? Projected=*ProjectedVolumeSource PortworxVolume=*? \
  ScaleIO=*? StorageOS=*? CSI=*CSIVolumeSource Ephemeral=*EphemeralVolumeSource Image=*ImageVolumeSource
HostPathVolumeSource: Path=s Type=*
EmptyDirVolumeSource: Medium=s SizeLimit=*
GitRepoVolumeSource: Repository=s Revision=s Directory=s
SecretVolumeSource: SecretName=s Items=[]KeyToPath DefaultMode=* Optional=*
NFSVolumeSource: Server=s Path=s ReadOnly=b
PersistentVolumeClaimVolumeSource: ClaimName=s ReadOnly=b
DownwardAPIVolumeSource: Items=[]DownwardAPIVolumeFile DefaultMode=*
DownwardAPIVolumeFile: Path=s FieldRef=*ObjectFieldSelector ResourceFieldRef=*ResourceFieldSelector Mode=*
ConfigMapVolumeSource: Name=s Items=[]KeyToPath DefaultMode=* Optional=*
KeyToPath: Key=s Path=s Mode=*
ProjectedVolumeSource: Sources=[]VolumeProjection DefaultMode=*
VolumeProjection: Secret=*SecretProjection DownwardAPI=*DownwardAPIProjection ConfigMap=*ConfigMapProjection \
  ServiceAccountToken=*ServiceAccountTokenProjection ClusterTrustBundle=*ClusterTrustBundleProjection \
  PodCertificate=*PodCertificateProjection
SecretProjection: Name=s Items=[]KeyToPath Optional=*
ConfigMapProjection: Name=s Items=[]KeyToPath Optional=*
DownwardAPIProjection: Items=[]DownwardAPIVolumeFile
ServiceAccountTokenProjection: Audience=s ExpirationSeconds=i Path=s
ClusterTrustBundleProjection: Name=* SignerName=* LabelSelector=*!LabelSelector Optional=* Path=s
PodCertificateProjection: SignerName=s KeyType=s MaxExpirationSeconds=* CredentialBundlePath=s KeyPath=s \
  CertificateChainPath=s UserAnnotations={}
CSIVolumeSource: Driver=s ReadOnly=* FSType=* VolumeAttributes={} NodePublishSecretRef=*LocalObjectReference
EphemeralVolumeSource: VolumeClaimTemplate=*?
ImageVolumeSource: Reference=s PullPolicy=s
EnvVar: Name=s Value=s ValueFrom=*EnvVarSource
EnvVarSource: FieldRef=*ObjectFieldSelector ResourceFieldRef=*ResourceFieldSelector \
  ConfigMapKeyRef=*KeySelector SecretKeyRef=*KeySelector FileKeyRef=*FileKeySelector
ObjectFieldSelector: APIVersion=s FieldPath=s
ResourceFieldSelector: ContainerName=s Resource=s Divisor=q
KeySelector: Name=s Key=s Optional=*
FileKeySelector: VolumeName=s Path=s Key=s Optional=*
EnvFromSource: Prefix=s ConfigMapRef=*OptionalReference SecretRef=*OptionalReference
OptionalReference: Name=s Optional=*
ContainerPort: Name=s HostPort=i ContainerPort=i Protocol=s HostIP=s
VolumeMount: Name=s ReadOnly=b RecursiveReadOnly=* MountPath=s SubPath=s MountPropagation=* SubPathExpr=s
VolumeDevice: Name=s DevicePath=s
ResourceRequirements: Limits={} Requests={} Claims=[]ResourceClaim
ResourceClaim: Name=s Request=s
ContainerResizePolicy: ResourceName=s RestartPolicy=s
ContainerRestartRule: Action=s ExitCodes=*ContainerRestartRuleOnExitCodes
ContainerRestartRuleOnExitCodes: Operator=s Values=[]
Toleration: Key=s Operator=s Value=s Effect=s TolerationSeconds=*
HostAlias: IP=s Hostnames=[]
PodDNSConfig: Nameservers=[] Searches=[] Options=[]PodDNSConfigOption
PodDNSConfigOption: Name=s Value=*
PodReadinessGate: ConditionType=s
PodOS: Name=s
PodSchedulingGate: Name=s
TopologySpreadConstraint: MaxSkew=i TopologyKey=s WhenUnsatisfiable=s LabelSelector=*!LabelSelector MinDomains=* \
  NodeAffinityPolicy=* NodeTaintsPolicy=* MatchLabelKeys=[]
!LabelSelector: matchLabels={} matchExpressions=[]!LabelSelectorRequirement
!LabelSelectorRequirement: key=s operator=s values=[]
PodResourceClaim: Name=s ResourceClaimName=* ResourceClaimTemplateName=*
Affinity: NodeAffinity=*NodeAffinity PodAffinity=*PodAffinity PodAntiAffinity=*PodAffinity
NodeAffinity: RequiredDuringSchedulingIgnoredDuringExecution=*NodeSelector \
  PreferredDuringSchedulingIgnoredDuringExecution=[]PreferredSchedulingTerm
NodeSelector: NodeSelectorTerms=[]NodeSelectorTerm
NodeSelectorTerm: MatchExpressions=[]NodeSelectorRequirement MatchFields=[]NodeSelectorRequirement
NodeSelectorRequirement: Key=s Operator=s Values=[]
PreferredSchedulingTerm: Weight=i Preference=NodeSelectorTerm
PodAffinity: RequiredDuringSchedulingIgnoredDuringExecution=[]PodAffinityTerm \
  PreferredDuringSchedulingIgnoredDuringExecution=[]WeightedPodAffinityTerm
PodAffinityTerm: LabelSelector=*!LabelSelector Namespaces=[] TopologyKey=s NamespaceSelector=*!LabelSelector \
  MatchLabelKeys=[] MismatchLabelKeys=[]
WeightedPodAffinityTerm: Weight=i PodAffinityTerm=PodAffinityTerm
Sysctl: Name=s Value=s
LocalObjectReference: Name=s
PodSchedulingGroup: PodGroupName=*
PodIP: IP=s
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Number,
    Truth,
    Quantity,
    Pointer,
    List,
    Map,
    Struct,
    PointerTo,
    ListOf,
}

struct Member {
    name: &'static str,
    key: String,
    shape: Shape,
    kind: &'static str,
}

static MEMBERS: LazyLock<HashMap<&'static str, Vec<Member>>> = LazyLock::new(|| {
    let mut structs: HashMap<&'static str, Vec<Member>> = HashMap::new();
    for line in STRUCTS.lines() {
        let Some((name, fields)) = line.split_once(": ") else { continue };
        let mut members: Vec<Member> = Vec::new();
        for field in fields.split_whitespace() {
            match (field.strip_prefix('&'), field.split_once('=')) {
                (Some(inner), _) => {
                    members.extend(structs.get(inner).into_iter().flatten().map(Member::copy))
                }
                (None, Some((name, shape))) => members.push(Member::new(name, shape)),
                (None, None) => {}
            }
        }
        structs.insert(name, members);
    }
    structs
});

impl Member {
    fn new(name: &'static str, shape: &'static str) -> Self {
        let (shape, kind) = match shape {
            "s" => (Shape::Text, ""),
            "i" => (Shape::Number, ""),
            "b" => (Shape::Truth, ""),
            "q" => (Shape::Quantity, ""),
            "*" | "*?" => (Shape::Pointer, ""),
            "[]" => (Shape::List, ""),
            "{}" => (Shape::Map, ""),
            other => match (other.strip_prefix('*'), other.strip_prefix("[]")) {
                (Some(kind), _) => (Shape::PointerTo, kind),
                (_, Some(kind)) => (Shape::ListOf, kind),
                _ => (Shape::Struct, other),
            },
        };
        Self { name, key: json_name(name), shape, kind }
    }

    fn copy(&self) -> Self {
        Self { name: self.name, key: self.key.clone(), shape: self.shape, kind: self.kind }
    }
}

/// A field's name in the API: the leading capitals in lower case, but for the last one before a small letter.
fn json_name(name: &str) -> String {
    match name {
        "CephFS" => return "cephfs".into(),
        "StorageOS" => return "storageos".into(),
        _ => {}
    }
    let capitals = name.bytes().take_while(u8::is_ascii_uppercase).count();
    let lower = if capitals == name.len() || capitals <= 1 { capitals } else { capitals - 1 };
    format!("{}{}", name[..lower].to_ascii_lowercase(), &name[lower..])
}

struct Writer<'t> {
    text: &'t mut String,
    pretty: bool,
    depth: usize,
}

impl Writer<'_> {
    fn line(&mut self) {
        if self.pretty {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', self.depth));
        }
    }

    /// Writes elements between brackets; nothing between them where there are none.
    fn block<T>(&mut self, marks: [char; 2], list: impl Iterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.text.push(marks[0]);
        self.depth += 1;
        let mut any = false;
        for element in list {
            if any {
                self.text.push(',');
            }
            any = true;
            self.line();
            write(self, element);
        }
        self.depth -= 1;
        if any {
            self.line();
        }
        self.text.push(marks[1]);
    }

    fn name(&mut self, name: &str) {
        self.text.push_str(&format!("{}:{}", Value::from(name), if self.pretty { " " } else { "" }));
    }

    /// A value as it stands.
    fn plain(&mut self, value: &Value) {
        match value {
            Value::Array(list) => self.block(['[', ']'], list.iter(), |writer, value| writer.plain(value)),
            Value::Object(map) => self.block(['{', '}'], map.iter(), |writer, (key, value)| {
                writer.name(key);
                writer.plain(value);
            }),
            other => self.text.push_str(&other.to_string()),
        }
    }
}

fn write_kind(writer: &mut Writer, kind: &str, value: &Value) {
    let Some(members) = MEMBERS.get(kind) else { return writer.plain(value) };
    let sparse = kind.starts_with('!');
    let shown = members.iter().filter(|member| {
        !sparse || !crate::rules::at::is_empty(value.get(&member.key).unwrap_or(&Value::Null))
    });
    writer.block(['{', '}'], shown, |writer, member| {
        writer.name(member.name);
        write_member(writer, member, value.get(&member.key).unwrap_or(&Value::Null));
    });
}

fn write_member(writer: &mut Writer, member: &Member, value: &Value) {
    let absent = value.is_null();
    match member.shape {
        Shape::Text if absent => writer.text.push_str("\"\""),
        Shape::Number if absent => writer.text.push('0'),
        Shape::Truth if absent => writer.text.push_str("false"),
        Shape::Quantity if absent => writer.text.push_str("\"0\""),
        Shape::PointerTo if absent => writer.text.push_str("null"),
        Shape::Struct | Shape::PointerTo => write_kind(writer, member.kind, value),
        Shape::ListOf => match value.as_array() {
            Some(list) if !list.is_empty() => {
                writer.block(['[', ']'], list.iter(), |writer, value| write_kind(writer, member.kind, value));
            }
            _ => writer.text.push_str("null"),
        },
        Shape::List | Shape::Map if crate::rules::at::is_empty(value) => writer.text.push_str("null"),
        _ => writer.plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_of_the_api() {
        let table = [
            ("DNSPolicy", "dnsPolicy"),
            ("OS", "os"),
            ("TTY", "tty"),
            ("HTTPGet", "httpGet"),
            ("SELinuxOptions", "seLinuxOptions"),
            ("HostPID", "hostPID"),
            ("FSGroup", "fsGroup"),
            ("Name", "name"),
        ];
        for (name, expected) in table {
            assert_eq!(json_name(name), expected);
        }
    }

    #[test]
    fn structs_are_written_in_full() {
        let profile = json!({"type": "RuntimeDefault", "localhostProfile": "a"});
        assert_eq!(
            compact("SeccompProfile", &profile),
            r#"{"Type":"RuntimeDefault","LocalhostProfile":"a"}"#
        );
        let handler = json!({"httpGet": {"port": 80}});
        assert_eq!(
            compact("LifecycleHandler", &handler),
            r#"{"Exec":null,"HTTPGet":{"Path":"","Port":80,"Host":"","Scheme":"","HTTPHeaders":null},"TCPSocket":null,"Sleep":null}"#
        );
        let action = json!({"command": ["x"]});
        assert_eq!(pretty("ExecAction", &action), "{\n \"Command\": [\n  \"x\"\n ]\n}");
        let term = json!({"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "k"});
        assert_eq!(
            compact("PodAffinityTerm", &term),
            r#"{"LabelSelector":{"matchLabels":{"a":"b"}},"Namespaces":null,"TopologyKey":"k","NamespaceSelector":null,"MatchLabelKeys":null,"MismatchLabelKeys":null}"#
        );
    }
}
