{{- define "crossreid.pod" -}}
metadata:
  labels:
    {{- include "crossreid.labels" . | nindent 4 }}
    app.kubernetes.io/component: service
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "crossreid.name" . }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 30
  securityContext:
    {{- include "crossreid.podSecurity" . | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "crossreid.selector" . | nindent 10 }}
          app.kubernetes.io/component: service
  {{- if .Values.model.initImage.reference }}
  initContainers:
    - name: model
      image: {{ .Values.model.initImage.reference | quote }}
      command:
        {{- range .Values.model.initImage.command }}
        - {{ . | quote }}
        {{- end }}
      securityContext:
        {{- include "crossreid.containerSecurity" . | nindent 8 }}
      resources:
        requests: {cpu: 100m, memory: 64Mi}
        limits: {cpu: "1", memory: 256Mi}
      volumeMounts:
        - {name: model, mountPath: /model}
  {{- end }}
  containers:
    - name: service
      image: {{ include "crossreid.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - {{ printf "/model/%s" .Values.model.path | trimSuffix "/" | quote }}
        - {{ .Values.milvus.address | quote }}
        - --collection
        - {{ .Values.milvus.collection | quote }}
        - --keys
        - /keys/keys.json
        - --state
        - /var/lib/crossreid
        - --host
        - 0.0.0.0
        - --port
        - {{ .Values.service.port | quote }}
        - --rate
        - {{ .Values.service.rate | quote }}
        - --retain-audit-days
        - {{ .Values.service.auditDays | quote }}
        {{- with .Values.service.engine }}
        - --engine
        - {{ . | quote }}
        {{- end }}
        {{- with .Values.service.proxy }}
        - --proxy
        - {{ . | quote }}
        {{- end }}
        {{- if .Values.service.tlsSecret }}
        - --tls-certificate
        - /tls/tls.crt
        - --tls-key
        - /tls/tls.key
        {{- end }}
        {{- range .Values.service.extraArguments }}
        - {{ . | quote }}
        {{- end }}
      env:
        {{- include "crossreid.token" . | nindent 8 }}
      ports:
        - {name: http, containerPort: {{ .Values.service.port }}}
      securityContext:
        {{- include "crossreid.containerSecurity" . | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- $scheme := ternary "HTTPS" "HTTP" (not (empty .Values.service.tlsSecret)) }}
      startupProbe:
        httpGet: {path: /v1/health, port: http, scheme: {{ $scheme }}}
        periodSeconds: 2
        failureThreshold: 150
      readinessProbe:
        httpGet: {path: /v1/health, port: http, scheme: {{ $scheme }}}
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet: {path: /v1/health, port: http, scheme: {{ $scheme }}}
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 6
      # Requests still arrive for a moment after the pod was told to stop.
      lifecycle:
        preStop:
          exec: {command: [sleep, "5"]}
      volumeMounts:
        - {name: model, mountPath: /model, readOnly: true}
        - {name: keys, mountPath: /keys, readOnly: true}
        - {name: state, mountPath: /var/lib/crossreid}
        - {name: tmp, mountPath: /tmp}
        {{- if .Values.service.tlsSecret }}
        - {name: tls, mountPath: /tls, readOnly: true}
        {{- end }}
  volumes:
    - name: model
      {{- if .Values.model.existingClaim }}
      persistentVolumeClaim:
        claimName: {{ .Values.model.existingClaim | quote }}
        readOnly: true
      {{- else if .Values.model.imageVolume.reference }}
      image:
        reference: {{ .Values.model.imageVolume.reference | quote }}
        pullPolicy: {{ .Values.model.imageVolume.pullPolicy }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    # The whole folder is mounted, so that keys added to or removed from the secret reach a running pod.
    - name: keys
      secret:
        secretName: {{ .Values.keysSecret | quote }}
        defaultMode: 0440
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- if not .Values.audit.persistent }}
    - name: state
      emptyDir:
        sizeLimit: {{ .Values.audit.size | quote }}
    {{- end }}
    {{- if .Values.service.tlsSecret }}
    - name: tls
      secret:
        secretName: {{ .Values.service.tlsSecret | quote }}
        defaultMode: 0440
    {{- end }}
{{- end }}
