"""What KubeRay 1.7.0 accepts as a RayCluster of version v1, as a JSON schema.

KubeRay's own fields are described here, all of them, with their types, values and what is required; compared field by
field with the definition that KubeRay 1.7.0 installs. For what it takes over from Kubernetes, such as templates of
pods, the schema refers to Kubernetes' own definitions. Unknown fields are refused everywhere.
"""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import referencing

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"
"""The name that Kubernetes' definitions have in kubernetes-validate; nothing is downloaded."""


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def fields(*, required: tuple[str, ...] = (), **each: Schema) -> Schema:
    return {"type": "object", "properties": each, "required": list(required), "additionalProperties": False}


def kubernetes(name: str) -> Schema:
    return {"$ref": f"{_DEFINITIONS}#/$defs/io.k8s.{name}"}


CONTAINER = {
    "env": many(kubernetes("api.core.v1.EnvVar")),
    "image": TEXT,
    "imagePullPolicy": TEXT,
    "resources": kubernetes("api.core.v1.ResourceRequirements"),
}
RULES = {
    "egressRules": many(kubernetes("api.networking.v1.NetworkPolicyEgressRule")),
    "ingressRules": many(kubernetes("api.networking.v1.NetworkPolicyIngressRule")),
}
CREDENTIAL = fields(value=TEXT, valueFrom=kubernetes("api.core.v1.EnvVarSource"))
GROUP = {
    "labels": TEXTS,
    "rayStartParams": TEXTS,
    "resources": TEXTS,
    "template": kubernetes("api.core.v1.PodTemplateSpec"),
}
SPEC = fields(
    required=("headGroupSpec",),
    authOptions=fields(enableK8sTokenAuth=FLAG, mode=one_of("disabled", "token"), secretName=TEXT),
    autoscalerOptions=fields(
        **CONTAINER,
        args=many(TEXT),
        command=many(TEXT),
        envFrom=many(kubernetes("api.core.v1.EnvFromSource")),
        idleTimeoutSeconds=COUNT,
        securityContext=kubernetes("api.core.v1.SecurityContext"),
        upscalingMode=one_of("Default", "Aggressive", "Conservative"),
        version=one_of("v1", "v2"),
        volumeMounts=many(kubernetes("api.core.v1.VolumeMount")),
    ),
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=fields(
        backend=one_of("redis", "rocksdb"),
        externalStorageNamespace=TEXT,
        redisAddress=TEXT,
        redisPassword=CREDENTIAL,
        redisUsername=CREDENTIAL,
        storage=fields(
            accessModes=many(TEXT),
            claimName=TEXT,
            deletionPolicy=one_of("DeleteWithCluster", "Retain"),
            size=kubernetes("apimachinery.pkg.api.resource.Quantity"),
            storageClassName=TEXT,
            subPath=TEXT,
        ),
    ),
    headGroupSpec=fields(
        required=("template",),
        **GROUP,
        enableIngress=FLAG,
        headService=kubernetes("api.core.v1.Service"),
        ingressOptions=fields(
            host=TEXT,
            path=TEXT,
            pathType=one_of("Exact", "Prefix", "ImplementationSpecific"),
            tls=many(fields(hosts=many(TEXT), secretName=TEXT)),
        ),
        serviceType=TEXT,
    ),
    headServiceAnnotations=TEXTS,
    historyServerOptions=fields(collectorOptions=fields(**CONTAINER)),
    managedBy=one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
    networkPolicy=fields(
        head=fields(**RULES),
        mode=one_of("DenyAll", "DenyAllIngress", "DenyAllEgress"),
        worker=fields(**RULES),
        workerGroups=many(fields(required=("groupName",), groupName=TEXT, **RULES)),
    ),
    rayVersion=TEXT,
    suspend=FLAG,
    tlsOptions=fields(enabled=FLAG),
    upgradeStrategy=fields(type=one_of("Recreate", "None")),
    workerGroupSpecs=many(
        fields(
            required=("groupName", "maxReplicas", "minReplicas", "template"),
            **GROUP,
            groupName=TEXT,
            idleTimeoutSeconds=COUNT,
            maxReplicas=COUNT,
            minReplicas=COUNT,
            numOfHosts=COUNT,
            priority=COUNT,
            replicas=COUNT,
            scaleStrategy=fields(workersToDelete=many(TEXT)),
            suspend=FLAG,
        )
    ),
)
RAY_CLUSTER = fields(
    required=("apiVersion", "kind", "metadata", "spec"),
    apiVersion=one_of("ray.io/v1"),
    kind=one_of("RayCluster"),
    metadata=kubernetes("apimachinery.pkg.apis.meta.v1.ObjectMeta"),
    spec=SPEC,
)


def make_validator(kubernetes_version: str) -> jsonschema.Draft202012Validator:
    """Return a validator that knows the definitions of a version of Kubernetes, such as `1.31`."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{kubernetes_version}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    registry: referencing.Registry = referencing.Registry().with_contents([(_DEFINITIONS, definitions)])
    return jsonschema.Draft202012Validator(RAY_CLUSTER, registry=registry)
