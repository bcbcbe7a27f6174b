package e2e

import (
	"bytes"
	"os"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The manifest of examples/kubernetes, which docs/deploying.md shows, is what
// Kubernetes takes it for: no field that it does not know, and the probes and the
// time that the text speaks of.
func TestManifest(t *testing.T) {
	text, err := os.ReadFile("../examples/kubernetes/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := bytes.Split(text, []byte("\n---\n"))
	if len(documents) != 2 {
		t.Fatalf("%d documents", len(documents))
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(documents[0], &deployment); err != nil {
		t.Fatal(err)
	}
	var service corev1.Service
	if err := yaml.UnmarshalStrict(documents[1], &service); err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template.Spec
	container := pod.Containers[0]
	if *pod.TerminationGracePeriodSeconds != 30 || container.ReadinessProbe.HTTPGet.Path != "/readyz" || container.LivenessProbe.HTTPGet.Path != "/livez" {
		t.Errorf("%+v", pod)
	}
	for label, value := range deployment.Spec.Selector.MatchLabels {
		if service.Spec.Selector[label] != value || deployment.Spec.Template.Labels[label] != value {
			t.Errorf("nothing is selected by %s", label)
		}
	}
	if port := service.Spec.Ports[0].TargetPort.StrVal; port != container.Ports[0].Name {
		t.Errorf("the service's port %q is none of the pod's", port)
	}
}
