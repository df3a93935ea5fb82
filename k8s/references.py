"""Checks that the manifests agree with each other and with the settings of the processes.

A schema does not see a Service that selects nothing, a port that no container has, or a variable that no setting
reads: these are looked for here. Usage: references.py MANIFESTS.yaml
"""

import pathlib
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/config.default.toml"))
PROCESSES = [*SERVICES, "gateway"]


def prefix(process):
    return "JKN_" + process.upper().replace("-", "_") + "__"


def settings(process):
    """Every key that may be set, as it stands in the environment behind the prefix of the process."""
    own = ROOT / ("gateway" if process == "gateway" else f"services/{process}") / "config.default.toml"
    common = tomllib.loads((ROOT / "crates/chassis/config.default.toml").read_text())
    common["service"] = tomllib.loads(own.read_text())
    common["upstream"] = {other: "" for other in SERVICES if other != process}

    def leaves(table, path):
        for key, value in table.items():
            here = [*path, key.upper().replace("-", "_")]
            yield from leaves(value, here) if isinstance(value, dict) else ["__".join(here)]

    return set(leaves(common, []))


def faults(documents):
    named = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    of_kind = lambda kind: [d for d in documents if d["kind"] == kind]
    deployments = {d["metadata"]["name"]: d for d in of_kind("Deployment")}
    if sorted(deployments) != sorted(PROCESSES):
        yield f"Deployments are {sorted(deployments)}, processes are {sorted(PROCESSES)}"

    for process, deployment in deployments.items():
        spec = deployment["spec"]
        template, pod = spec["template"], spec["template"]["spec"]
        labels = template["metadata"]["labels"]
        say = lambda text, process=process: f"{process}: {text}"
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            yield say("the Deployment does not select its own pods")
        if ("ServiceAccount", pod["serviceAccountName"]) not in named:
            yield say("there is no such ServiceAccount")
        if pod.get("enableServiceLinks") is not False or pod.get("automountServiceAccountToken") is not False:
            yield say("enableServiceLinks and automountServiceAccountToken must be false")
        volumes = {volume["name"] for volume in pod["volumes"]}
        known = settings(process)
        given = {}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            command = container["args"][0]
            if container["args"][1:] != [process] or command not in ("serve", "migrate"):
                yield say(f"the container {container['name']} runs another process: {container['args']}")
            if not container["image"].endswith(":dev") and "@sha256:" not in container["image"]:
                yield say(f"the image {container['image']} was not set by kustomize")
            security = container.get("securityContext", {})
            if not security.get("readOnlyRootFilesystem") or security.get("capabilities", {}).get("drop") != ["ALL"]:
                yield say(f"the container {container['name']} is not hardened")
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield say(f"there is no volume {mount['name']}")
            for source in container.get("envFrom", []):
                config = named.get(("ConfigMap", source["configMapRef"]["name"]))
                if config is None:
                    yield say(f"there is no ConfigMap {source['configMapRef']['name']}")
                else:
                    given |= config["data"]
            given |= {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if command == "serve" and container.get(probe, {}).get("httpGet", {}).get("port") not in ports:
                    yield say(f"{probe} asks no port of the container")

        for variable, value in given.items():
            if "__" not in variable:
                continue
            key = variable.removeprefix(prefix(process))
            if key == variable or key not in known:
                yield say(f"{variable} is no setting of this process")
            if key.startswith("UPSTREAM__"):
                host, _, port = value.removeprefix("https://").partition(":")
                service = named.get(("Service", host))
                if not value.startswith("https://") or service is None or int(port) != service["spec"]["ports"][0]["port"]:
                    yield say(f"{variable} leads nowhere")
        for key, name in (("LISTEN", "grpc"), ("ADMIN_LISTEN", "admin")):
            if given.get(prefix(process) + key) != f"0.0.0.0:{ports[name]}":
                yield say(f"{prefix(process)}{key} is not the port {name} of the container")
        served = pod["containers"][0]
        pause = served.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = int(given.get(prefix(process) + "STOP_GRACE_SECONDS", 20))
        if pod["terminationGracePeriodSeconds"] <= pause + grace:
            yield say("terminationGracePeriodSeconds does not last for preStop and the stop of the process")

        service = named.get(("Service", process))
        if service is None:
            yield say("there is no Service")
        elif not service["spec"]["selector"].items() <= labels.items():
            yield say("the Service selects none of its pods")
        elif any(port["targetPort"] not in ports for port in service["spec"]["ports"]):
            yield say("the Service leads to a port that the container has not")


def main():
    documents = [d for d in yaml.safe_load_all(pathlib.Path(sys.argv[1]).read_text()) if d]
    found = list(faults(documents))
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{len(documents)} manifests, {len(found)} faults")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
