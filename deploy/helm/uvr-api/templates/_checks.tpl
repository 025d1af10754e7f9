{{/* What is wrong with the values beyond their types, one sentence a line; "" if nothing is. */}}
{{- define "uvr-api.faults" -}}
{{- $v := .Values -}}
{{- if not $v.image.registry }}
image.registry: name the registry that has the images, such as registry.example.com/audio.
{{- end }}
{{- if not $v.settings.S3_BUCKET_NAME }}
settings.S3_BUCKET_NAME: name a bucket, because each pod has a disk of its own and the API cannot read it.
{{- end }}
{{- if not $v.secrets.BASIC_AUTH_PASSWORD }}
secrets.BASIC_AUTH_PASSWORD: name the Secret and the key that hold the password of the admin.
{{- end }}
{{- if ne (empty $v.secrets.AWS_ACCESS_KEY_ID) (empty $v.secrets.AWS_SECRET_ACCESS_KEY) }}
secrets: give both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither to use the role of the ServiceAccount.
{{- end }}
{{- include "uvr-api.redisFaults" . }}
{{- include "uvr-api.graceFaults" . }}
{{- if lt (int $v.keda.maxReplicas) (int $v.keda.minReplicas) }}
keda.maxReplicas: must not be less than keda.minReplicas ({{ int $v.keda.minReplicas }}).
{{- end }}
{{- if and $v.models.persistence.enabled (ne $v.models.persistence.accessMode "ReadWriteMany") (or $v.keda.enabled (gt (int $v.worker.replicas) 1)) }}
models.persistence.accessMode: several worker pods need ReadWriteMany, or no volume, so that each has its own models.
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}
ingress.host: name the host that clients use, such as stems.example.com.
{{- end }}
{{- if and $v.gpu.enabled (has ($v.settings.DEVICE | default "cuda") (list "cpu" "coreml")) }}
settings.DEVICE: is {{ $v.settings.DEVICE }} although gpu.enabled gives the pods a card; remove one of the two.
{{- end }}
{{- if and $v.monitoring.serviceMonitor.enabled (not $v.secrets.METRICS_TOKEN) }}
secrets.METRICS_TOKEN: name the Secret and the key of a token with which Prometheus may read the metrics.
{{- end }}
{{- end -}}

{{- define "uvr-api.redisFaults" -}}
{{- $redis := .Values.redis -}}
{{- $is_single := eq $redis.topology "single" -}}
{{- if not .Values.secrets.REDIS_URL }}
{{- if or $redis.tls (not $is_single) .Values.keda.redisUsername }}
secrets.REDIS_URL: TLS, a user name, Sentinel and Cluster need the whole URL of Redis; name the Secret and key of it.
{{- else if not $redis.host }}
redis.host: name the host of your Redis, or the Secret with its URL in secrets.REDIS_URL.
{{- end }}
{{- else if .Values.keda.enabled }}
{{- if and $is_single (not $redis.host) }}
redis.host: KEDA cannot read secrets.REDIS_URL, so repeat its host here.
{{- end }}
{{- end }}
{{- if and (not $is_single) (not $redis.addresses) (or .Values.keda.enabled .Values.networkPolicy.enabled) }}
redis.addresses: repeat the addresses in secrets.REDIS_URL, which KEDA and the NetworkPolicy cannot read.
{{- end }}
{{- if and (eq $redis.topology "sentinel") (not $redis.sentinelMaster) .Values.keda.enabled }}
redis.sentinelMaster: name the master that the sentinels watch.
{{- end }}
{{- end -}}

{{- define "uvr-api.graceFaults" -}}
{{- $least := include "uvr-api.workerGraceSeconds" . | int64 }}
{{- with .Values.worker.terminationGracePeriodSeconds }}
{{- if lt (int64 .) $least }}
worker.terminationGracePeriodSeconds: {{ int64 . }} is less than the {{ $least }} s that processor.shutdownGraceSeconds, drainSeconds and uploader.shutdownGraceSeconds need, so Kubernetes would kill pods with unfinished songs.
{{- end }}
{{- end }}
{{- $least = include "uvr-api.apiGraceSeconds" . | int64 }}
{{- with .Values.api.terminationGracePeriodSeconds }}
{{- if lt (int64 .) $least }}
api.terminationGracePeriodSeconds: {{ int64 . }} is less than the {{ $least }} s that api.shutdownGraceSeconds needs, so Kubernetes would kill pods that still answer.
{{- end }}
{{- end }}
{{- end -}}
