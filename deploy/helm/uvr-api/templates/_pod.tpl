{{/* What all pods have in common, and where the pods of a component run. Takes a list: the root, "api" or "worker". */}}
{{- define "uvr-api.pod" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (index . 1) -}}
serviceAccountName: {{ include "uvr-api.serviceAccountName" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with $root.Values.security.runAsUser }}
  runAsUser: {{ int64 . }}
  {{- end }}
  {{- with $root.Values.security.runAsGroup }}
  runAsGroup: {{ int64 . }}
  {{- end }}
  {{- with $root.Values.security.fsGroup }}
  fsGroup: {{ int64 . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "uvr-api.selector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{/* The annotations of pods, which start again when the settings change. Takes a list: the root, "api" or "worker". */}}
{{- define "uvr-api.podAnnotations" -}}
{{- $root := index . 0 -}}
checksum/settings: {{ printf "%s%s" (include "uvr-api.settings" $root) (toJson $root.Values.presets) | sha256sum }}
{{- with (index $root.Values (index . 1)).podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image of a container, its settings and its rights. Takes a list: the root, "service" or "processor". */}}
{{- define "uvr-api.container" -}}
{{- $root := index . 0 -}}
image: {{ include "uvr-api.image" . | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
envFrom:
  - configMapRef: {name: {{ include "uvr-api.fullname" $root }}-settings}
{{- end -}}

{{/* The probes of a worker. Takes a list: "processor" or "uploader", and how many times 10 s its start may take.

A restart is no help while Redis is away, so that alone never ends a worker that has started. One that hangs is not
given the time of the whole pod. */}}
{{- define "uvr-api.workerProbes" -}}
startupProbe:
  exec: {command: [python, -m, uvr.liveness.workers, {{ index . 0 }}]}
  periodSeconds: 10
  timeoutSeconds: 15
  failureThreshold: {{ index . 1 }}
  terminationGracePeriodSeconds: 30
readinessProbe:
  exec: {command: [python, -m, uvr.liveness.workers, {{ index . 0 }}]}
  periodSeconds: 30
  timeoutSeconds: 15
  failureThreshold: 2
livenessProbe:
  exec: {command: [python, -m, uvr.liveness.workers, {{ index . 0 }}, --unless-redis-is-away]}
  periodSeconds: 60
  timeoutSeconds: 30
  failureThreshold: 5
  terminationGracePeriodSeconds: 30
{{- end -}}
