{{/* The name of everything in the release. */}}
{{- define "connector.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "connector.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "connector.labels" -}}
{{ include "connector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "connector.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "connector.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "connector.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Whether others than the pod itself reach the console: "" where not. */}}
{{- define "connector.consoleIsOpen" -}}
{{- if and .Values.console.enabled (or .Values.console.tlsSecret .Values.console.trustedProxies) -}}
true
{{- end -}}
{{- end -}}

{{/* [console], as environment variables: it is the same for all tenants. */}}
{{- define "connector.console" -}}
{{- with .Values.console -}}
- name: MDE_INVENTORY_CONSOLE__LISTEN
  value: {{ printf "%s:%d" (ternary "0.0.0.0" "127.0.0.1" (not (empty (include "connector.consoleIsOpen" $)))) (int .port) | quote }}
- name: MDE_INVENTORY_CONSOLE__ALLOW_DECISIONS
  value: {{ .allowDecisions | quote }}
{{- if .tlsSecret }}
- name: MDE_INVENTORY_CONSOLE__TLS_CERTIFICATE_PATH
  value: /run/console-tls/tls.crt
- name: MDE_INVENTORY_CONSOLE__TLS_KEY_PATH
  value: /run/console-tls/tls.key
{{- end }}
{{- if .trustedProxies }}
- name: MDE_INVENTORY_CONSOLE__TRUSTED_PROXIES
  value: {{ toJson .trustedProxies | quote }}
- name: MDE_INVENTORY_CONSOLE__USER_HEADER
  value: {{ .userHeader | quote }}
{{- end }}
{{- if .allowedHosts }}
- name: MDE_INVENTORY_CONSOLE__ALLOWED_HOSTS
  value: {{ toJson .allowedHosts | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* What the connector and its setup have in common: environment, rights, mounts. */}}
{{- define "connector.container" -}}
image: {{ include "connector.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: MDE_INVENTORY_CONFIG
    value: /etc/mde-inventory/tenants
  {{- if .Values.console.enabled }}
  {{- include "connector.console" . | nindent 2 }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: state
    mountPath: /var/lib/mde-inventory
  - name: tenants
    mountPath: /etc/mde-inventory/tenants
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- range .Values.secrets }}
  - name: secret-{{ . | replace "." "-" }}
    mountPath: /run/secrets/{{ . }}
    readOnly: true
  {{- end }}
  {{- if and .Values.console.enabled .Values.console.tlsSecret }}
  - name: console-tls
    mountPath: /run/console-tls
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
