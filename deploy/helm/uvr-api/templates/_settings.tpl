{{/* A value as the text of a variable. Helm reads all numbers as floating point: 524288000 must not become 5.24288e+08. */}}
{{- define "uvr-api.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The variables of the ConfigMap, as YAML: `settings`, and what the chart knows itself. */}}
{{- define "uvr-api.settings" -}}
{{- $fixed := dict "TEMP_DIR" "/srv/uvr/data/temp" "OUTPUT_DIR" "/srv/uvr/data/output" "MODEL_FILE_DIR" "/srv/uvr/models" "MODEL_CACHE_DIR" "/srv/uvr/data/model-cache" -}}
{{- if not .Values.secrets.REDIS_URL -}}
{{- $_ := set $fixed "REDIS_HOST" .Values.redis.host -}}
{{- $_ := set $fixed "REDIS_PORT" .Values.redis.port -}}
{{- $_ := set $fixed "REDIS_DB" .Values.redis.database -}}
{{- end -}}
{{- if .Values.usersFile.secretName -}}
{{- $_ := set $fixed "BASIC_AUTH_USERS_FILE" (printf "/srv/uvr/users/%s" .Values.usersFile.key) -}}
{{- end -}}
{{- if .Values.presets -}}
{{- $_ := set $fixed "PRESETS_FILE" "/srv/uvr/presets/presets.json" -}}
{{- end -}}
{{- if .Values.gpu.enabled -}}
{{- $_ := set $fixed "DEVICE" "cuda" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.settings.PUBLIC_BASE_URL) -}}
{{- $scheme := ternary "https" "http" (not (empty .Values.ingress.tlsSecretName)) -}}
{{- $_ := set $fixed "PUBLIC_BASE_URL" (printf "%s://%s" $scheme .Values.ingress.host) -}}
{{- end -}}
{{- range $name, $value := merge $fixed .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ include "uvr-api.text" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The secret variables of a container. Takes a list: the root, and the names of those that it uses. */}}
{{- define "uvr-api.secretEnv" -}}
{{- $secrets := (index . 0).Values.secrets -}}
{{- range $name := index . 1 }}
{{- with index $secrets $name }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The least grace period of a worker pod: the processor's grace and its last steps, the drain, the uploader's. */}}
{{- define "uvr-api.workerGraceSeconds" -}}
{{- $worker := .Values.worker -}}
{{- add (int64 $worker.processor.shutdownGraceSeconds) 5 (int64 $worker.drainSeconds) (int64 $worker.uploader.shutdownGraceSeconds) 5 10 -}}
{{- end -}}

{{/* The seconds until Kubernetes kills a stopping worker pod. */}}
{{- define "uvr-api.workerEndSeconds" -}}
{{- default (include "uvr-api.workerGraceSeconds" .) .Values.worker.terminationGracePeriodSeconds | int64 -}}
{{- end -}}

{{/* How many worker pods may be missing during an upgrade. */}}
{{- define "uvr-api.workerMaxUnavailable" -}}
{{- max (int .Values.worker.maxUnavailable) (ternary 1 0 .Values.gpu.enabled) -}}
{{- end -}}

{{/* The least grace period of an API pod: a pause until no new requests come, the API's grace, and its end. */}}
{{- define "uvr-api.apiGraceSeconds" -}}
{{- add 5 (int64 .Values.api.shutdownGraceSeconds) 10 -}}
{{- end -}}

{{/* The ports of Redis as a list in YAML. */}}
{{- define "uvr-api.redisPorts" -}}
{{- $ports := list -}}
{{- if eq .Values.redis.topology "single" -}}
{{- $ports = list (int .Values.redis.port) -}}
{{- else -}}
{{- range .Values.redis.addresses -}}
{{- $ports = append $ports (splitList ":" . | last | int) -}}
{{- end -}}
{{- if eq .Values.redis.topology "sentinel" -}}
{{- $ports = append $ports 6379 -}}
{{- end -}}
{{- end -}}
{{- default (uniq $ports) .Values.networkPolicy.redisPorts | toYaml -}}
{{- end -}}

{{/* The port of the storage. */}}
{{- define "uvr-api.s3Port" -}}
{{- $url := urlParse (default "https://s3.amazonaws.com" .Values.settings.S3_ENDPOINT_URL) -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- default (ternary "80" "443" (eq $url.scheme "http")) $port -}}
{{- end -}}
