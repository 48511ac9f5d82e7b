{{- /* Labels of pods: as long as these stay, a new version of the chart restarts nothing. A course
       id such as 61 or "no" is text. */ -}}
{{- define "course-hub.podLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
campus.hubs/course: {{ .Release.Name | quote }}
{{- end }}

{{- /* Labels of every object: the ones that Kubernetes and Helm recommend. Takes root and, for what belongs to one
       component, its name, which is the pods' label `component` as well. */ -}}
{{- define "course-hub.labels" -}}
{{ include "course-hub.podLabels" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: campus.hubs
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* A reference with digest stands in name alone. */ -}}
{{- define "course-hub.image" -}}
{{ .name }}{{ with .tag }}:{{ . }}{{ end }}
{{- end }}

{{- /* Pod Security "restricted", for each pod of the chart. */ -}}
{{- define "course-hub.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "course-hub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "course-hub.pullSecrets" }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - {name: {{ . | quote }}}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Of programs that use OpenSSL: the file is beside the system's folder of public authorities. */ -}}
{{- define "course-hub.caEnv" }}
{{- with .Values.caCertificates }}
- {name: SSL_CERT_FILE, value: /etc/campus-hubs/ca/ca.crt}
{{- end }}
{{- end }}

{{- define "course-hub.caMount" }}
{{- with .Values.caCertificates }}
- {name: ca, mountPath: /etc/campus-hubs/ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "course-hub.caVolume" }}
{{- with .Values.caCertificates }}
- name: ca
  configMap: {name: ca}
{{- end }}
{{- end }}

{{- /* What all pods of the chart have in common, below spec. A lost node's pod is replaced after half a minute. */ -}}
{{- define "course-hub.pod" -}}
enableServiceLinks: false
{{- include "course-hub.dns" . }}
{{- include "course-hub.pullSecrets" . }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext: {{- include "course-hub.podSecurity" . | nindent 2 }}
tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
{{- end }}

{{- /* A Service of the course by its whole name, so that no search domain is ever tried for it. */ -}}
{{- define "course-hub.host" -}}
{{ .service }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.dns.clusterDomain }}
{{- end }}

{{- /* A node's search domains (a wildcard record in them answers for everything) are nobody's here, and names with a dot are
       tried as they are. */ -}}
{{- define "course-hub.dns" }}
{{- with .Values.dns.nameservers }}
dnsPolicy: None
{{- end }}
dnsConfig: {{- include "course-hub.dnsConfig" . | nindent 2 }}
{{- end }}

{{- define "course-hub.dnsConfig" -}}
{{- with .Values.dns.nameservers -}}
nameservers: {{- toYaml . | nindent 2 }}
searches: [{{ $.Release.Namespace }}.svc.{{ $.Values.dns.clusterDomain }}]
{{ end -}}
options: [{name: ndots, value: "1"}]
{{- end }}

{{- /* "true" for a course that is entered by LTI 1.3, empty for LTI 1.1. */ -}}
{{- define "course-hub.lti13" -}}
{{- if dig "CourseAuthenticator" "lti13_platform" dict .Values.hub.config }}true{{ end }}
{{- end }}

{{- /* The hub's files: its program is the package campus_hubs_hub of its image. */ -}}
{{- define "course-hub.hubFiles" -}}
jupyterhub_config.py: |
  from campus_hubs_hub.configuration import configure
  configure(get_config())
values.json: |
  {{- include "course-hub.config" . | nindent 2 }}
{{- end }}

{{- /* What that package reads. */ -}}
{{- define "course-hub.config" -}}
{{- $image := dict "image" (include "course-hub.image" .Values.singleuser.image) "pullPolicy" .Values.singleuser.image.pullPolicy }}
{{- dict
  "course" .Release.Name
  "hosts" (dict
    "hub" (include "course-hub.host" (dict "root" . "service" "hub"))
    "proxy" (include "course-hub.host" (dict "root" . "service" "proxy-api"))
    "exchange" (include "course-hub.host" (dict "root" . "service" "exchange")))
  "dns" (dict "policy" (ternary "None" "ClusterFirst" (gt (len .Values.dns.nameservers) 0)) "config" (include "course-hub.dnsConfig" . | fromYaml))
  "baseUrl" .Values.hub.baseUrl
  "publicUrl" .Values.hub.publicUrl
  "config" .Values.hub.config
  "cull" .Values.cull
  "scheduling" .Values.scheduling
  "membershipHours" .Values.hub.membershipHours
  "imagePullSecrets" .Values.imagePullSecrets
  "caCertificates" (ne .Values.caCertificates "")
  "timezone" .Values.timezone
  "singleuser" (merge (omit .Values.singleuser "image" "pdb" "networkPolicy") $image)
  | toPrettyJson }}
{{- end }}
