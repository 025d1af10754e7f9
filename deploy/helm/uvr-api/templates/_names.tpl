{{/* The prefix of the names of all objects. */}}
{{- define "uvr-api.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a component. Takes a list: the root, and "api" or "worker". */}}
{{- define "uvr-api.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The labels of an object. Takes the same list. */}}
{{- define "uvr-api.labels" -}}
{{- $root := index . 0 -}}
{{ include "uvr-api.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "uvr-api.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "uvr-api.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The reference of an image. Takes a list: the root, and "service" or "processor". */}}
{{- define "uvr-api.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
{{- $name := printf "%s/%s" (trimSuffix "/" $image.registry) $image.repository -}}
{{- $tag := default $root.Chart.AppVersion $image.tag -}}
{{- if eq (index . 1) "processor" -}}
{{- $tag = default (printf "%s-processor%s" $tag (ternary "-gpu" "" $root.Values.gpu.enabled)) $image.processor.tag -}}
{{- end -}}
{{- with (index $image (index . 1)).digest -}}
{{- printf "%s@%s" $name . -}}
{{- else -}}
{{- printf "%s:%s" $name $tag -}}
{{- end -}}
{{- end -}}
