//! What a run on Kubernetes is made of, typed by its interface: what no version of it knows does not compile.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, Secret, SecretEnvSource, SecretVolumeSource, SecurityContext,
    Service, ServicePort, ServiceSpec, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Where hosts join the driver.
const JOIN: i32 = 7400;

/// Where the driver keeps the batch, on its pod's own loopback: who may forward a port may fetch it.
const KEEP: &str = "127.0.0.1:7401";

/// Nobody in particular, and not root.
const USER: i64 = 65_532;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) nodes: u16,
    /// Its text.
    pub(super) scenario: String,
    pub(super) image: String,
    pub(super) pull: String,
    pub(super) name: String,
    /// A Secret with the URLs of servers.
    pub(super) servers: Option<String>,
    pub(super) driver_keys: BTreeMap<String, Vec<u8>>,
    pub(super) node_keys: BTreeMap<String, Vec<u8>>,
    pub(super) cpu: String,
    pub(super) memory: String,
    /// Options of `lockbench run`.
    pub(super) run: Vec<String>,
}

type Object = serde_json::Result<serde_json::Value>;

/// All of them, those first that others need.
pub(super) fn objects(asked: &Asked) -> Vec<Object> {
    vec![
        serde_json::to_value(scenario(asked)),
        serde_json::to_value(keys(asked, "driver", &asked.driver_keys)),
        serde_json::to_value(keys(asked, "node", &asked.node_keys)),
        serde_json::to_value(service(asked)),
        serde_json::to_value(only_for_nodes(asked, "driver", Some(JOIN))),
        serde_json::to_value(only_for_nodes(asked, "node", None)),
        serde_json::to_value(budget(asked)),
        serde_json::to_value(driver(asked)),
        serde_json::to_value(nodes(asked)),
    ]
}

fn called(asked: &Asked, role: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(format!("{}-{role}", asked.name)),
        labels: Some(labels(asked, role)),
        ..ObjectMeta::default()
    }
}

fn labels(asked: &Asked, role: &str) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", &*asked.name), ("app.kubernetes.io/component", role)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn selector(asked: &Asked, role: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(labels(asked, role)), ..LabelSelector::default() }
}

fn scenario(asked: &Asked) -> ConfigMap {
    ConfigMap {
        metadata: called(asked, "scenario"),
        data: Some([("scenario.toml".to_owned(), asked.scenario.clone())].into()),
        ..ConfigMap::default()
    }
}

fn keys(asked: &Asked, role: &str, files: &BTreeMap<String, Vec<u8>>) -> Secret {
    let files = files.iter().map(|(name, content)| (name.clone(), ByteString(content.clone())));
    Secret {
        metadata: called(asked, &format!("{role}-keys")),
        data: Some(files.collect()),
        ..Secret::default()
    }
}

/// By which hosts find the driver. Headless: there is one pod, and no balancing.
fn service(asked: &Asked) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        selector: Some(labels(asked, "driver")),
        ports: Some(vec![ServicePort {
            name: Some("join".to_owned()),
            port: JOIN,
            ..ServicePort::default()
        }]),
        // Hosts join before it is said to be ready.
        publish_not_ready_addresses: Some(true),
        ..ServiceSpec::default()
    };
    Service { metadata: called(asked, "driver"), spec: Some(spec), ..Service::default() }
}

/// Lets nobody but nodes talk to pods of this role, at that port alone where one is given: nodes of a ring listen at whichever is free.
fn only_for_nodes(asked: &Asked, role: &str, port: Option<i32>) -> NetworkPolicy {
    let from =
        NetworkPolicyPeer { pod_selector: Some(selector(asked, "node")), ..NetworkPolicyPeer::default() };
    let at = |port| NetworkPolicyPort { port: Some(IntOrString::Int(port)), ..NetworkPolicyPort::default() };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(asked, role)),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(vec![NetworkPolicyIngressRule {
            from: Some(vec![from]),
            ports: port.map(|port| vec![at(port)]),
        }]),
        ..NetworkPolicySpec::default()
    };
    NetworkPolicy { metadata: called(asked, role), spec: Some(spec) }
}

/// A run with fewer nodes than are planned proves nothing: whoever drains a machine waits for its end.
fn budget(asked: &Asked) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        // Of pods of a Job a number is all that can be kept.
        min_available: Some(IntOrString::Int(asked.nodes.into())),
        selector: Some(selector(asked, "node")),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget {
        metadata: called(asked, "node"),
        spec: Some(spec),
        ..PodDisruptionBudget::default()
    }
}

fn driver(asked: &Asked) -> Job {
    let listen = format!("0.0.0.0:{JOIN}");
    let nodes = asked.nodes.to_string();
    let fixed =
        ["run", "/scenario/scenario.toml", "--placement", "remote", "--listen", &listen, "--keys", "/keys"];
    let kept = ["--nodes", &nodes, "--out", "/out", "--progress", "plain", "--keep", KEEP];
    let args = fixed.iter().chain(&kept).map(ToString::to_string).chain(asked.run.iter().cloned()).collect();
    let container = Container {
        args: Some(args),
        ports: Some(vec![ContainerPort {
            name: Some("join".to_owned()),
            container_port: JOIN,
            ..ContainerPort::default()
        }]),
        env_from: asked.servers.as_ref().map(|name| {
            let secret_ref = Some(SecretEnvSource { name: name.clone(), optional: Some(false) });
            vec![EnvFromSource { secret_ref, ..EnvFromSource::default() }]
        }),
        volume_mounts: Some(
            [("scenario", "/scenario"), ("keys", "/keys"), ("out", "/out"), ("tmp", "/tmp")]
                .map(|(name, path)| mount(name, path))
                .into(),
        ),
        ..container(asked, "driver")
    };
    let scenario = Volume {
        name: "scenario".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: format!("{}-scenario", asked.name),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let volumes = vec![scenario, keys_of(asked, "driver"), empty("out"), empty("tmp")];
    let spec = JobSpec {
        // What a second one would write is another batch.
        backoff_limit: Some(0),
        template: pod(asked, "driver", container, volumes),
        ..JobSpec::default()
    };
    Job { metadata: called(asked, "driver"), spec: Some(spec), ..Job::default() }
}

fn nodes(asked: &Asked) -> Job {
    let driver = format!("{}-driver:{JOIN}", asked.name);
    let args = ["node", "--join", &driver, "--keys", "/keys", "--name", "$(POD)", "--address", "$(ADDRESS)"];
    let container = Container {
        args: Some(args.map(str::to_owned).into()),
        env: Some(vec![of_pod("POD", "metadata.name"), of_pod("ADDRESS", "status.podIP")]),
        volume_mounts: Some(vec![mount("keys", "/keys"), mount("tmp", "/tmp")]),
        ..container(asked, "node")
    };
    let of_the_cluster = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
        }]),
        ..PodFailurePolicyRule::default()
    };
    let spec = JobSpec {
        completion_mode: Some("Indexed".to_owned()),
        completions: Some(asked.nodes.into()),
        parallelism: Some(asked.nodes.into()),
        // A host whose driver is lost fails, and so would each that comes after it.
        backoff_limit_per_index: Some(2),
        pod_failure_policy: Some(PodFailurePolicy { rules: vec![of_the_cluster] }),
        template: pod(asked, "node", container, vec![keys_of(asked, "node"), empty("tmp")]),
        ..JobSpec::default()
    };
    Job { metadata: called(asked, "node"), spec: Some(spec), ..Job::default() }
}

fn pod(asked: &Asked, role: &str, container: Container, volumes: Vec<Volume>) -> PodTemplateSpec {
    let spread = TopologySpreadConstraint {
        label_selector: Some(selector(asked, role)),
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    };
    let spec = PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        containers: vec![container],
        restart_policy: Some("Never".to_owned()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: Some(vec![spread]),
        volumes: Some(volumes),
        ..PodSpec::default()
    };
    let metadata = ObjectMeta { labels: Some(labels(asked, role)), ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
}

fn container(asked: &Asked, role: &str) -> Container {
    let quantity = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    Container {
        name: role.to_owned(),
        image: Some(asked.image.clone()),
        image_pull_policy: Some(asked.pull.clone()),
        resources: Some(ResourceRequirements {
            requests: Some([quantity("cpu", &asked.cpu), quantity("memory", &asked.memory)].into()),
            // Processor time is not bounded: a bound throttles, and what is throttled measures nothing.
            limits: Some([quantity("memory", &asked.memory)].into()),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn of_pod(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() };
    let from = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value_from: Some(from), ..EnvVar::default() }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    let read_only = matches!(name, "keys" | "scenario").then_some(true);
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), read_only, ..VolumeMount::default() }
}

fn keys_of(asked: &Asked, role: &str) -> Volume {
    let secret = SecretVolumeSource {
        secret_name: Some(format!("{}-{role}-keys", asked.name)),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    Volume { name: "keys".to_owned(), secret: Some(secret), ..Volume::default() }
}

fn empty(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}
