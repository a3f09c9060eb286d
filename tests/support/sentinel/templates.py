"""Generate the ARM templates of both roads in `deploy/sentinel`: `python -m tests.support.sentinel.templates`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from connector.model import Topic
from tests.support.recorded import OPTIONAL, TOPICS
from tests.support.sentinel.tables import (
    EVENT_HUB_STREAM,
    TABLES,
    Road,
    columns,
    stream_name,
    stream_schema,
    transform,
)

ROOT: Final = Path(__file__).parents[3]
FOLDER: Final = ROOT / "deploy" / "sentinel"

SCHEMA: Final = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
TABLES_VERSION: Final = "2022-10-01"
INSIGHTS_VERSION: Final = "2023-03-11"
ROLES_VERSION: Final = "2022-04-01"

METRICS_PUBLISHER: Final = "3913510d-42f4-4e42-8a64-420c390055eb"
"""Monitoring Metrics Publisher, which sending to a rule takes."""
HUB_RECEIVER: Final = "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"
"""Azure Event Hubs Data Receiver."""

RULES: Final = "Microsoft.Insights/dataCollectionRules"
ENDPOINTS: Final = "Microsoft.Insights/dataCollectionEndpoints"
DESTINATION: Final = "workspace"

Json = dict[str, Any]


def parameter(description: str, default: Any = None, kind: str = "string", **limits: Any) -> Json:
    """A parameter of a template; without a default it must be given."""
    given = {} if default is None else {"defaultValue": default}
    return {"type": kind, **given, **limits, "metadata": {"description": description}}


SHARED_PARAMETERS: Final = {
    "workspaceName": parameter("Log Analytics workspace of Sentinel, in the resource group of the deployment."),
    "location": parameter("Region of the rule: that of the workspace.", "[resourceGroup().location]"),
    "retentionInDays": parameter(
        "Days that the tables can be searched. MdeSoftwareInventory knows what they still have.",
        365,
        "int",
        minValue=4,
        maxValue=730,
    ),
}


def template(parameters: Json, resources: list[Json], outputs: Json) -> Json:
    """A template."""
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": parameters,
        "resources": resources,
        "outputs": {name: {"type": "string", "value": value} for name, value in outputs.items()},
    }


def tables() -> list[Json]:
    """The tables, which both roads fill in the same way."""
    return [
        {
            "type": "Microsoft.OperationalInsights/workspaces/tables",
            "apiVersion": TABLES_VERSION,
            "name": f"[concat(parameters('workspaceName'), '/{name}')]",
            "properties": {
                "plan": "Analytics",
                "retentionInDays": "[parameters('retentionInDays')]",
                "schema": {
                    "name": name,
                    "columns": [
                        {"name": "TimeGenerated", "type": "dateTime", "description": "When the message arrived."},
                        *(
                            {
                                "name": column.name,
                                # The API of tables writes it so, that of rules in small letters.
                                "type": "dateTime" if column.kind == "datetime" else column.kind,
                                "description": column.doc,
                            }
                            for column in columns(topic)
                        ),
                    ],
                },
            },
        }
        for topic, name in TABLES.items()
    ]


def table_ids() -> list[str]:
    """What a rule waits for."""
    kind = "Microsoft.OperationalInsights/workspaces/tables"
    return [f"[resourceId('{kind}', parameters('workspaceName'), '{name}')]" for name in TABLES.values()]


def flow(topic: Topic, road: Road, stream: str) -> Json:
    """The flow from a stream to its table."""
    return {
        "streams": [stream],
        "destinations": [DESTINATION],
        "transformKql": transform(topic, road),
        "outputStream": f"Custom-{TABLES[topic]}",
    }


def declaration(topic: Topic, road: Road) -> Json:
    """The columns of a stream."""
    return {"columns": [{"name": name, "type": kind} for name, kind in stream_schema(topic, road).items()]}


def destinations() -> Json:
    """The workspace."""
    workspace = "[resourceId('Microsoft.OperationalInsights/workspaces', parameters('workspaceName'))]"
    return {"logAnalytics": [{"name": DESTINATION, "workspaceResourceId": workspace}]}


def role(scope: str, role_id: str, principal: str, **more: Any) -> Json:
    """A role assignment, named after what it gives to whom."""
    return {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": ROLES_VERSION,
        **more,
        "scope": scope,
        "properties": {
            "roleDefinitionId": f"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{role_id}')]",
            "principalId": principal,
            "principalType": "ServicePrincipal",
        },
    }


# ---- Logstash


def logstash() -> Json:
    """One rule with a stream for each topic, an address of its own, and the permission to send to it."""
    rule = f"resourceId('{RULES}', parameters('dataCollectionRuleName'))"
    known = "not(empty(parameters('publisherObjectId')))"
    return template(
        {
            **SHARED_PARAMETERS,
            "dataCollectionRuleName": parameter("Name of the rule.", "mde-software-logstash"),
            "publisherObjectId": parameter(
                "Object id of the service principal that Logstash logs in as; empty: give it the role Monitoring "
                "Metrics Publisher on the rule yourself.",
                "",
            ),
        },
        [
            *tables(),
            {
                "type": RULES,
                "apiVersion": INSIGHTS_VERSION,
                "name": "[parameters('dataCollectionRuleName')]",
                "location": "[parameters('location')]",
                "kind": "Direct",
                "dependsOn": table_ids(),
                "properties": {
                    "streamDeclarations": {stream_name(topic): declaration(topic, "logstash") for topic in TOPICS},
                    "destinations": destinations(),
                    "dataFlows": [flow(topic, "logstash", stream_name(topic)) for topic in TOPICS],
                },
            },
            role(
                f"[{rule}]",
                METRICS_PUBLISHER,
                "[parameters('publisherObjectId')]",
                condition=f"[{known}]",
                name=f"[guid({rule}, parameters('publisherObjectId'), '{METRICS_PUBLISHER}')]",
                dependsOn=[f"[{rule}]"],
            ),
        ],
        {
            "dcr_id": f"[reference({rule}, '{INSIGHTS_VERSION}').immutableId]",
            "data_collection_endpoint": f"[reference({rule}, '{INSIGHTS_VERSION}').endpoints.logsIngestion]",
        },
    )


# ---- Event Hubs


def hub_rule(topic: Topic) -> list[Json]:
    """A topic's rule, its permission to read the event hub, and what joins the two."""
    name = f"concat(parameters('dataCollectionRulePrefix'), '-{topic.value}')"
    rule = f"resourceId('{RULES}', {name})"
    hub = (
        "resourceId('Microsoft.EventHub/namespaces/eventhubs', parameters('eventHubNamespace'), "
        f"concat(parameters('topicPrefix'), '.{topic.value}'))"
    )
    endpoint = f"[resourceId('{ENDPOINTS}', parameters('dataCollectionEndpointName'))]"
    named = "not(empty(parameters('eventHubNamespace')))"
    principal = f"reference({rule}, '{INSIGHTS_VERSION}', 'Full').identity.principalId"
    made: Json = {}
    if topic in OPTIONAL:
        wanted = f"parameters('{topic.value}')"
        # Azure evaluates a reference in a resource that is not deployed too.
        made, named, principal = (
            {"condition": f"[{wanted}]"}, f"and({wanted}, {named})", f"if({wanted}, {principal}, '')"
        )  # fmt: skip
    joined = {"condition": f"[{named}]", "dependsOn": [f"[{rule}]"]}
    return [
        {
            "type": RULES,
            "apiVersion": INSIGHTS_VERSION,
            **made,
            "name": f"[{name}]",
            "location": "[parameters('location')]",
            "identity": {"type": "SystemAssigned"},
            "dependsOn": [endpoint, *table_ids()],
            "properties": {
                "dataCollectionEndpointId": endpoint,
                "streamDeclarations": {EVENT_HUB_STREAM: declaration(topic, "event-hub")},
                "dataSources": {
                    "dataImports": {
                        "eventHub": {
                            "name": topic.value,
                            "stream": EVENT_HUB_STREAM,
                            "consumerGroup": "[parameters('consumerGroup')]",
                        }
                    }
                },
                "destinations": destinations(),
                "dataFlows": [flow(topic, "event-hub", EVENT_HUB_STREAM)],
            },
        },
        role(
            f"[{hub}]",
            HUB_RECEIVER,
            f"[{principal}]",
            name=f"[guid({hub}, {rule}, '{HUB_RECEIVER}')]",
            **joined,
        ),
        {
            "type": "Microsoft.Insights/dataCollectionRuleAssociations",
            "apiVersion": INSIGHTS_VERSION,
            "name": f"mde-software-{topic.value}",
            **joined,
            "scope": f"[{hub}]",
            "properties": {"dataCollectionRuleId": f"[{rule}]"},
        },
    ]


def event_hub() -> Json:
    """A rule for each topic, as a rule reads one event hub, and the endpoint that they share."""
    return template(
        {
            **SHARED_PARAMETERS,
            "dataCollectionRulePrefix": parameter("How the names of the rules begin.", "mde-software"),
            "dataCollectionEndpointName": parameter("Name of the data collection endpoint.", "mde-software"),
            "eventHubNamespace": parameter(
                "Event Hubs namespace, in the resource group of the deployment; empty: give the rules the role "
                "Azure Event Hubs Data Receiver and associate them yourself.",
                "",
            ),
            "topicPrefix": parameter("kafka.topic_prefix of the connector.", "mde.software"),
            "consumerGroup": parameter("Consumer group that the rules read with, in each event hub.", "$Default"),
            "campaigns": parameter(
                "Whether the connector publishes campaigns ([campaigns] enabled): there is no event hub otherwise.",
                default=False,
                kind="bool",
            ),
        },
        [
            *tables(),
            {
                "type": ENDPOINTS,
                "apiVersion": INSIGHTS_VERSION,
                "name": "[parameters('dataCollectionEndpointName')]",
                "location": "[parameters('location')]",
                "properties": {"networkAcls": {"publicNetworkAccess": "Enabled"}},
            },
            *(resource for topic in TOPICS for resource in hub_rule(topic)),
        ],
        {
            f"{topic.value}RuleId": f"[resourceId('{RULES}', concat(parameters('dataCollectionRulePrefix'), "
            f"'-{topic.value}'))]"
            for topic in TOPICS
        },
    )


def text(content: Json) -> str:
    """A template as a file."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def files() -> dict[str, str]:
    """The content of each generated file by its name."""
    return {"dcr-logstash.json": text(logstash()), "dcr-event-hub.json": text(event_hub())}


def main() -> int:
    """Write the files."""
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
