package attack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// K27: a port-forward is decoded, SPDY within WebSocket as well as alone, and what goes through is in the book, both ways.
func TestK27PortForwardIsRecorded(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box", "")
	must(t, admin(t, "", "-n", ns, "exec", "box", "--", "sh", "-c", "mkdir /tmp/www && echo answer-from-the-pod > /tmp/www/index.html && httpd -p 8000 -h /tmp/www"))
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	kubeconfig := g.Kubeconfig(g.Agent(ns, "claude", "box"))
	for _, websockets := range []string{"true", "false"} {
		question := "question-by-websockets-" + websockets
		if got := throughForward(t, kubeconfig, ns, websockets, "GET / HTTP/1.0\r\nX-Question: "+question+"\r\n\r\n"); !strings.Contains(got, "answer-from-the-pod") {
			t.Errorf("WebSockets %s: the pod answered %q", websockets, got)
		}
		found := 0
		for _, r := range own(book(t, g, "system:serviceaccount:"+ns+":claude")) {
			if r.Operation.Kubernetes.Subresource != "portforward" {
				continue
			}
			out := g.CLI(g.Person("grace", "auditors"), "show", string(r.Operation.ID), "--key", g.Data("auditor.key")).Stdout
			if strings.Contains(out, question) && strings.Contains(out, "answer-from-the-pod") {
				found++
			}
		}
		if found != 1 {
			t.Errorf("WebSockets %s: %d recordings hold question and answer, want 1", websockets, found)
		}
	}
}

// throughForward sends bytes through a port-forward of kubectl's, and gives what comes back.
func throughForward(t *testing.T, kubeconfig, ns, websockets, send string) string {
	t.Helper()
	return throughForwardTo(t, kubeconfig, ns, websockets, 8000, send)
}

func throughForwardTo(t *testing.T, kubeconfig, ns, websockets string, remote int, send string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Bin, "kubectl"), "--kubeconfig", kubeconfig, "-n", ns, "port-forward", "box", fmt.Sprint(":", remote))
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECTL_PORT_FORWARD_WEBSOCKETS=" + websockets}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		if err := cmd.Wait(); err == nil {
			t.Error("kubectl port-forward ended by itself")
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	var port int
	if _, scan := fmt.Sscanf(line, "Forwarding from 127.0.0.1:%d", &port); err != nil || scan != nil {
		t.Fatalf("kubectl port-forward said %q: %v", line, err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("reading through the port-forward: %v", err)
	}
	return string(b)
}
