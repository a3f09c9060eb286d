"""The Helm chart: valid objects for its default and each example, which run the connector as it must be run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from connector import config
from connector.config import CONFIG_VARIABLE, ConsoleConfig, tenants
from connector.service.polls import GRACE_SECONDS
from tests.test_deploy import container_environment, last_stage
from tests.test_docs import parse

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DOCS = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
KUBERNETES = "1.37.0"
VALUES = ["default", *EXAMPLES]
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator: Kubernetes has no schema of them."""

Tool = Callable[[str], Path]
Render = Callable[..., dict[str, dict[str, Any]]]


def helm(tool: Tool, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    return subprocess.run([tool("helm"), *arguments], capture_output=True, text=True, check=False, timeout=120)


def values_of(name: str) -> list[str]:
    """The option that gives an example's values."""
    return [] if name == "default" else ["--values", str(CHART / "examples" / f"{name}.yaml")]


@pytest.fixture
def render(tool: Tool) -> Render:
    """`render("several-tenants")`: the objects of a release, by kind; there is one of each."""

    def rendered(name: str, *options: str) -> dict[str, dict[str, Any]]:
        arguments = ["template", "mde-inventory-connector", str(CHART), "--kube-version", KUBERNETES, "-n", "siem"]
        ran = helm(tool, *arguments, *values_of(name), *options)
        assert ran.returncode == 0, ran.stderr
        objects = [document for document in yaml.safe_load_all(ran.stdout) if document]
        kinds = {document["kind"]: document for document in objects}
        assert len(kinds) == len(objects)
        return kinds

    return rendered


def pod_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The pod's specification."""
    spec: dict[str, Any] = objects["StatefulSet"]["spec"]["template"]["spec"]
    return spec


def containers_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod."""
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_has_nothing_that_helm_objects_to(name: str, tool: Tool) -> None:
    """`helm lint --strict`, with the values schema."""
    ran = helm(tool, "lint", "--strict", "--kube-version", KUBERNETES, str(CHART), *values_of(name))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_every_object_is_one_that_kubernetes_takes(name: str, version: str, render: Render) -> None:
    """Each validates strictly against the schemas of the oldest supported and of a current Kubernetes."""
    objects = render(name, "--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true")
    for kind, document in objects.items():
        if kind not in OPERATOR:
            kubernetes_validate.validate(document, version, strict=True)
    assert set(objects) >= OPERATOR | {"StatefulSet", "ConfigMap", "Service", "NetworkPolicy"}


@pytest.mark.parametrize("name", VALUES)
def test_the_tenants_are_ones_that_the_connector_loads(name: str, render: Render, tmp_path: Path) -> None:
    """The folder of the ConfigMap, with the environment of image and pod and a file for each secret it names."""
    objects = render(name)
    pod, mounted = pod_of(objects), {}
    for key, text in objects["ConfigMap"]["data"].items():
        for secret in re.findall(r'"(/run/secrets/[^"]+)"', text):
            mounted[secret] = tmp_path / secret.removeprefix("/").replace("/", "-")
            mounted[secret].write_text("secret\n", encoding="utf-8")
        for secret, stand_in in mounted.items():
            text = text.replace(secret, str(stand_in))  # noqa: PLW2901 - the same text
        (tmp_path / key).write_text(text, encoding="utf-8")
    environ = container_environment() | {
        variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]
    }
    (configured,) = {environ[CONFIG_VARIABLE]} & {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    ours = {key: value for key, value in environ.items() if key.startswith("MDE_")}
    token = {"AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token"}
    loaded = tenants.load([], ours | token | {CONFIG_VARIABLE: str(tmp_path)})
    assert configured == "/etc/mde-inventory/tenants"
    assert [tenant.file.name for tenant in loaded] == sorted(objects["ConfigMap"]["data"])
    # A secret that a configuration names is one that the pod mounts.
    folders = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert {str(Path(secret).parent) for secret in mounted} <= folders


@pytest.mark.parametrize("name", VALUES)
def test_every_container_runs_without_rights(name: str, render: Render) -> None:
    """As the image's user, on a read-only root, without capabilities or the cluster's token, two places writable."""
    pod = pod_of(render(name))
    user, _, group = last_stage()["USER"].partition(":")
    rights = pod["securityContext"]
    assert (str(rights["runAsUser"]), str(rights["runAsGroup"]), str(rights["fsGroup"])) == (user, group, group)
    assert (rights["runAsNonRoot"], rights["seccompProfile"]["type"]) == (True, "RuntimeDefault")
    assert pod["automountServiceAccountToken"] is False
    for container in containers_of(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {last_stage()["VOLUME"], "/tmp"}


@pytest.mark.parametrize("name", VALUES)
def test_what_a_container_is_called_with_is_understood(name: str, render: Render) -> None:
    """Its arguments are a command line of the connector; a fenced instance does not exit."""
    pod = pod_of(render(name))
    for container in containers_of(pod):
        parse([str(word) for word in container["args"]])
    assert pod["containers"][0]["args"][-2:] == ["run", "--keep-answering"]
    assert pod["terminationGracePeriodSeconds"] > GRACE_SECONDS


def test_probes_and_scrapes_ask_the_port_of_the_image(render: Render) -> None:
    """Liveness is /healthz, readiness /readyz; the service and the monitor lead to the same port."""
    objects = render("several-tenants")
    (container,) = pod_of(objects)["containers"]
    asked = [container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    assert (asked, container["ports"]) == (
        ["/healthz", "/readyz"],
        [{"name": "http", "containerPort": int(last_stage()["EXPOSE"])}],
    )
    labels = objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    for kind, selector in (
        ("Service", objects["Service"]["spec"]["selector"]),
        ("ServiceMonitor", objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"]),
        ("NetworkPolicy", objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]),
        ("PodDisruptionBudget", objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]),
    ):
        assert selector.items() <= labels.items(), kind
    (endpoint,) = objects["ServiceMonitor"]["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (objects["Service"]["spec"]["ports"][0]["name"], "/metrics")


def test_there_is_one_pod_and_no_way_to_ask_for_two(render: Render, tool: Tool) -> None:
    """A second instance would fence the first, so the number is no value; the schema refuses one."""
    assert render("default")["StatefulSet"]["spec"]["replicas"] == 1
    for wrong in ("replicas=2", "replicaCount=2"):
        ran = helm(tool, "template", "mde", str(CHART), "--kube-version", KUBERNETES, "--set", wrong)
        assert (ran.returncode, wrong.partition("=")[0] in ran.stderr) == (1, True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("image.digest=sha256:abc", "digest"),
        ("tenants.contoso=nothing", "contoso"),
        ("persistence.accessModes={ReadWriteMany}", "accessModes"),
        ("workloadIdentity.enabled=true", "clientId"),
        ("podDisruptionBudget.maxUnavailable=2", "maxUnavailable"),
        ("console.trustedProxies={10.42.0.0/16}", "allowedHosts"),
        ("console.tlsSecret=tls", "allowedHosts"),
        ("console.port=9464", "port"),
        ("console.from[0].ipBlock.cidr=10.0.0.0/8", "from"),
        (r"tenants.fabrikam=[source]\ntenant_id = 'b'", "needs its own [state] path"),
    ],
)
def test_values_that_cannot_work_are_refused(wrong: str, said: str, tool: Tool) -> None:
    """By name, before anything reaches the cluster."""
    ran = helm(tool, "template", "mde", str(CHART), "--kube-version", KUBERNETES, "--set", wrong)
    assert (ran.returncode, said in ran.stderr) == (1, True), ran.stderr


def test_no_secret_is_rendered_and_none_is_asked_for_as_a_value(render: Render) -> None:
    """Secrets exist already: the chart makes none, and its values name them."""
    for name in VALUES:
        assert "Secret" not in render(name)


def test_workload_identity_marks_pod_and_account(render: Render) -> None:
    """The webhook sees the label; the account names the identity."""
    objects = render("workload-identity")
    assert objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    annotations = objects["ServiceAccount"]["metadata"]["annotations"]
    assert annotations == {"azure.workload.identity/client-id": "22222222-2222-2222-2222-222222222222"}
    assert pod_of(objects)["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]


def console_of(objects: dict[str, dict[str, Any]]) -> ConsoleConfig:
    """What the environment of the pod says of the console."""
    environ = {variable["name"]: variable["value"] for variable in pod_of(objects)["containers"][0]["env"]}
    ours = {name: value for name, value in environ.items() if name.startswith("MDE_INVENTORY_CONSOLE__")}
    needed = {
        "MDE_INVENTORY_SOURCE__TENANT_ID": "contoso.example",
        "MDE_INVENTORY_SOURCE__CLIENT_ID": "00000000-0000-0000-0000-000000000000",
        "MDE_INVENTORY_SOURCE__CLIENT_SECRET": "s",
        "MDE_INVENTORY_KAFKA__CLIENT__BOOTSTRAP_SERVERS": "k:9092",
        "MDE_INVENTORY_SCHEMA_REGISTRY__URL": "http://r:8081",
    }
    return config.from_values({}, ours | needed, name="pod").console


def test_the_console_is_off_and_opened_on_request(render: Render) -> None:
    """Nothing of it by default; alone on the pod's loopback, without a port for others."""
    for objects, listen in (
        (render("default"), ""),
        (render("default", "--set", "console.enabled=true"), "127.0.0.1:8787"),
    ):
        (container,) = pod_of(objects)["containers"]
        assert console_of(objects) == ConsoleConfig(listen=listen)
        assert [port["name"] for port in container["ports"]] == ["http"]
        assert [port["name"] for port in objects["Service"]["spec"]["ports"]] == ["http"]
        assert len(objects["NetworkPolicy"]["spec"]["ingress"]) == 1


def test_the_console_behind_a_proxy_is_reached_by_the_proxy_alone(render: Render) -> None:
    """Port, service and policy agree; certificate and key are where the configuration says."""
    objects = render("console")
    pod, values = pod_of(objects), yaml.safe_load((CHART / "examples" / "console.yaml").read_text(encoding="utf-8"))
    assert console_of(objects) == ConsoleConfig(
        listen="0.0.0.0:8787",
        allow_decisions=True,
        tls_certificate_path=Path("/run/console-tls/tls.crt"),
        tls_key_path=Path("/run/console-tls/tls.key"),
        trusted_proxies=("10.42.7.0/24",),
        user_header="x-auth-request-user",
        allowed_hosts=("mde.soc.example",),
    )
    (container,) = pod["containers"]
    assert container["ports"][1:] == [{"name": "console", "containerPort": 8787}]
    assert objects["Service"]["spec"]["ports"][1:] == [{"name": "console", "port": 8787, "targetPort": "console"}]
    assert objects["NetworkPolicy"]["spec"]["ingress"][1:] == [
        {"from": values["console"]["from"], "ports": [{"port": "console", "protocol": "TCP"}]}
    ]
    (mounted,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/run/console-tls"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mounted["name"]]
    assert (mounted["readOnly"], volume["secret"]["secretName"]) == (True, "mde-inventory-console")


def test_a_changed_configuration_restarts_the_pod(render: Render) -> None:
    """The pod's annotation depends on the tenants' text."""
    marks = {
        render("default", "--set", f"tenants.contoso=[source]{number}")["StatefulSet"]["spec"]["template"]["metadata"][
            "annotations"
        ]["checksum/tenants"]
        for number in range(2)
    }
    assert len(marks) == 2


def test_the_chart_carries_the_rules_of_prometheus(render: Render) -> None:
    """The PrometheusRule is deploy/prometheus/rules.yaml, expressions and sentences untouched."""
    rule = render("several-tenants")["PrometheusRule"]
    assert rule["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_network_policy_lets_the_pod_reach_what_is_configured(name: str, render: Render) -> None:
    """Each port that the tenants' configurations and the proxy name is one that the policy opens."""
    objects = render(name)
    environ = [pair for pair in pod_of(objects)["containers"][0]["env"] if not pair["name"].endswith("__LISTEN")]
    texts = " ".join(objects["ConfigMap"]["data"].values()) + str(environ)
    configured = {int(port) for port in re.findall(r":(\d{3,5})\b", re.sub(r"[0-9a-f]{8}-[-0-9a-f]+", "", texts))}
    opened = {port["port"] for rule in objects["NetworkPolicy"]["spec"]["egress"] for port in rule["ports"]}
    assert configured <= opened
    assert {53, 443} <= opened


# ---- the page


def commands(text: str) -> Iterator[list[str]]:
    """The commands in the console blocks of the page, without comments."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


def test_the_commands_of_helm_on_the_page_render(tool: Tool) -> None:
    """Each `helm upgrade --install` of the page, as `helm template` with the same values, and each `helm lint`."""
    given = [words for words in commands(DOCS) if words[0] == "helm"]
    assert given
    for words in given:
        kept = [word for word in words[1:] if word not in ("upgrade", "--install", "--create-namespace", "--wait")]
        arguments = kept if words[1] in ("lint", "template") else ["template", *kept]
        ran = subprocess.run(
            [tool("helm"), *arguments, "--kube-version", KUBERNETES],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, (words, ran.stderr)


def test_what_kubectl_is_asked_for_on_the_page_exists_in_a_release(render: Render) -> None:
    """Names of pods, and the connector's command lines behind `--`, are those of the page's own release."""
    name = render("default")["StatefulSet"]["metadata"]["name"]
    executed = [words for words in commands(DOCS) if words[0] == "kubectl" and "exec" in words]
    assert executed
    for words in executed:
        split = words.index("--")
        assert f"{name}-0" in words[:split]
        if words[split + 1] != "cat":
            assert words[split + 1] == "mde-inventory"
            parse(words[split + 2 :])


def test_every_value_that_the_page_names_is_one(tool: Tool) -> None:
    """`persistence.size` and its like exist in values.yaml."""
    values = yaml.safe_load(helm(tool, "show", "values", str(CHART)).stdout)
    tops = "|".join(key for key in values if key not in ("env", "setup", "secrets"))
    for name in re.findall(rf"`((?:{tops})(?:\.\w+)*)`", DOCS):
        found: Any = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]
