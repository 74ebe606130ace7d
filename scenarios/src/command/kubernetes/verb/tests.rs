use super::*;

fn render(more: &[&str]) -> Render {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        render: Render,
    }
    let line = ["render", "holder-kill", "--image", "lockbench:test"].iter().chain(more);
    <Line as clap::Parser>::parse_from(line).render
}

fn rendered(more: &[&str]) -> Vec<serde_json::Value> {
    let text = render(more).manifests().unwrap();
    let documents = text.split("---\n").filter(|text| !text.is_empty());
    documents.map(|text| serde_yaml_ng::from_str(text).unwrap()).collect()
}

#[test]
fn every_object_is_there_once_and_each_reference_leads_to_one_of_them() {
    let objects = rendered(&["--nodes", "12", "--name", "mine", "--", "--redis", "redis://redis:6379"]);
    let mut names: Vec<_> = objects
        .iter()
        .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]).replace('"', ""))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ConfigMap mine-scenario",
            "Job mine-driver",
            "Job mine-node",
            "NetworkPolicy mine-driver",
            "NetworkPolicy mine-node",
            "PodDisruptionBudget mine-node",
            "Secret mine-driver-keys",
            "Secret mine-node-keys",
            "Service mine-driver",
        ]
    );
    let jobs: Vec<_> = objects.iter().filter(|object| object["kind"] == "Job").collect();
    for job in &jobs {
        for volume in job["spec"]["template"]["spec"]["volumes"].as_array().unwrap() {
            let secret = volume["secret"]["secretName"].as_str().map(|name| format!("Secret {name}"));
            let map = volume["configMap"]["name"].as_str().map(|name| format!("ConfigMap {name}"));
            assert!(secret.or(map).is_none_or(|name| names.contains(&name)), "{volume}");
        }
    }
    let driver = &jobs[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    let args: Vec<_> = driver.as_array().unwrap().iter().filter_map(|arg| arg.as_str()).collect();
    assert!(args.ends_with(&["--redis", "redis://redis:6379"]), "{args:?}");
    assert_eq!(jobs[1]["spec"]["completions"], 12);
}

#[test]
fn no_pod_is_root_or_may_become_it_and_none_can_talk_to_the_cluster() {
    for job in rendered(&[]).iter().filter(|object| object["kind"] == "Job") {
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"]["drop"], serde_json::json!(["ALL"]));
    }
}

#[test]
fn keys_are_fresh_each_time_and_a_node_never_has_the_driver_s() {
    let secrets = |objects: &[serde_json::Value], name: &str| {
        let is = |object: &&serde_json::Value| object["metadata"]["name"] == name;
        objects.iter().find(is).unwrap()["data"].as_object().unwrap().clone()
    };
    let (one, other) = (rendered(&[]), rendered(&[]));
    let [first, second] = [&one, &other].map(|objects| secrets(objects, "lockbench-node-keys"));
    assert_ne!(first["node.key"], second["node.key"]);
    let mut names: Vec<_> = first.keys().collect();
    names.sort();
    assert_eq!(names, ["ca.pem", "node.key", "node.pem"]);
}
