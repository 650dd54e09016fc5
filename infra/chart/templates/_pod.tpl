{{/* A pod of Ray: not root, with a root file system that is read-only. Takes root, image, resources and group. */}}
{{- define "fleetcast.pod" -}}
metadata:
  annotations:
    checksum/settings: {{ toJson .root.Values.settings | sha256sum }}
spec:
  {{- if .group }}
  automountServiceAccountToken: false
  {{- with .group.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .group.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 1000
    fsGroup: 1000
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: ray
      image: {{ printf "%s:%s" .image.repository .image.tag | quote }}
      imagePullPolicy: {{ .image.pullPolicy | default "IfNotPresent" }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources: {{- toYaml .resources | nindent 8 }}
      ports:
        - {name: metrics, containerPort: 8080}
        {{- if not .group }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        {{- end }}
      env:
        - {name: FLEETCAST_SETTINGS, value: /etc/fleetcast/settings.toml}
        {{- if .root.Values.secrets.connections }}
        - {name: FLEETCAST_CONNECTIONS, value: /etc/fleetcast-connections}
        {{- end }}
      {{- with .root.Values.secrets.store }}
      envFrom:
        - secretRef: {name: {{ . | quote }}}
      {{- end }}
      {{- /* KubeRay's own probes need wget, which the image lacks. */}}
      startupProbe:
        {{- include "fleetcast.healthy" . | nindent 8 }}
        periodSeconds: 10
        failureThreshold: 30
      readinessProbe:
        {{- include "fleetcast.healthy" . | nindent 8 }}
        periodSeconds: 10
        failureThreshold: 3
      livenessProbe:
        {{- include "fleetcast.healthy" . | nindent 8 }}
        periodSeconds: 30
        failureThreshold: 5
      volumeMounts:
        - {name: settings, mountPath: /etc/fleetcast, readOnly: true}
        - {name: temporary, mountPath: /tmp}
        - {name: home, mountPath: /home/fleetcast}
        {{- if .root.Values.secrets.connections }}
        - {name: connections, mountPath: /etc/fleetcast-connections, readOnly: true}
        {{- end }}
  volumes:
    - name: settings
      configMap: {name: {{ .root.Release.Name }}-settings}
    - name: temporary
      emptyDir: {}
    - name: home
      emptyDir: {}
    {{- with .root.Values.secrets.connections }}
    - name: connections
      secret: {secretName: {{ . | quote }}}
    {{- end }}
{{- end }}

{{- define "fleetcast.healthy" -}}
exec:
  command:
    - python
    - -c
    - from urllib.request import urlopen; urlopen('http://127.0.0.1:52365/api/local_raylet_healthz', timeout=5)
timeoutSeconds: 10
{{- end }}
