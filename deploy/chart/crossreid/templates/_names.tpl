{{- define "crossreid.name" -}}
{{- ternary .Release.Name (printf "%s-crossreid" .Release.Name) (contains "crossreid" .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "crossreid.selector" -}}
app.kubernetes.io/name: crossreid
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "crossreid.labels" -}}
{{ include "crossreid.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "crossreid.image" -}}
{{- if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "crossreid.milvusPort" -}}
{{ last (splitList ":" .Values.milvus.address) }}
{{- end }}

{{- define "crossreid.workload" -}}
{{ if .Values.audit.persistent }}StatefulSet{{ else }}Deployment{{ end }}
{{- end }}

{{- define "crossreid.token" -}}
- name: MILVUS_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ required "milvus.tokenSecret.name: name the secret with USER:PASSWORD of Milvus" .Values.milvus.tokenSecret.name | quote }}
      key: {{ .Values.milvus.tokenSecret.key | quote }}
{{- end }}

{{- define "crossreid.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "crossreid.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What the schema cannot express: required values and contradictions. */ -}}
{{- define "crossreid.check" -}}
{{- $_ := required "milvus.address: give the address of the cluster, http://HOST:PORT" .Values.milvus.address }}
{{- $_ := required "keysSecret: name the secret whose keys.json `crossreid keys add` wrote" .Values.keysSecret }}
{{- $models := 0 }}
{{- if .Values.model.existingClaim }}{{ $models = add $models 1 }}{{ end }}
{{- if .Values.model.imageVolume.reference }}{{ $models = add $models 1 }}{{ end }}
{{- if .Values.model.initImage.reference }}{{ $models = add $models 1 }}{{ end }}
{{- if ne (int $models) 1 }}
{{- fail "model: give exactly one of existingClaim, imageVolume.reference and initImage.reference" }}
{{- end }}
{{- if and .Values.model.initImage.reference (not .Values.model.initImage.command) }}
{{- fail "model.initImage.command: give the command that copies the model to /model" }}
{{- end }}
{{- if and .Values.retention.enabled (not .Values.retention.days) }}
{{- fail "retention.days: set after how many days entries are deleted, or retention.enabled=false to keep them for ever" }}
{{- end }}
{{- range .Values.service.extraArguments }}
{{- if regexMatch "^--(keep-images|keys|insecure|host|port|state|retain-days|token|collection|tls-.*|images)(=|$)" . }}
{{- fail (printf "service.extraArguments: %s is set by the chart, or needs files that replicas do not share" .) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.host: give the host name of the service" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.tlsSecret) }}
{{- fail "ingress.tlsSecret: keys and images do not travel unencrypted; name a TLS secret" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.serviceMonitor.keySecret.name) }}
{{- fail "serviceMonitor.keySecret.name: /metrics requires a key; name the secret with Prometheus's key" }}
{{- end }}
{{- end }}
