package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// contestant is a proxy in front of the upstream.
type contestant struct {
	name string
	*process
	// base is what stands before the upstream's path.
	base, token string
}

// field is the upstream, and all that stands in front of it.
type field struct {
	dir      string
	upstream *process
	address  string // of the upstream
	direct   contestant
	proxies  []contestant
	started  []*process
}

func (f *field) close() {
	for _, p := range f.started {
		p.stop()
	}
	f.upstream.stop()
}

// self starts a part of bench as a process.
func self(dir, name string, args ...string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(dir, name, append([]string{exe, name}, args...)...)
}

// newField starts the upstream, which serves over TLS on 127.0.0.1.
func newField(dir string) (*field, error) {
	if err := makeCertificate(dir); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	f := &field{dir: dir, address: fmt.Sprintf("127.0.0.1:%d", port)}
	if f.upstream, err = self(dir, "upstream", "-listen", f.address, "-dir", dir); err != nil {
		return nil, err
	}
	f.direct = contestant{name: "direct", process: f.upstream, base: "https://" + f.address}
	return f, f.upstream.listening(f.address)
}

func (f *field) add(name, scheme string, begin func(listen string) (*process, error)) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	p, err := begin(listen)
	if err != nil {
		return err
	}
	f.started = append(f.started, p)
	f.proxies = append(f.proxies, contestant{name: name, process: p, base: scheme + "://" + listen})
	return p.listening(listen)
}

// addPeers starts nginx, haproxy, kubectl proxy and the standard library's proxy. All verify the upstream's
// certificate, reuse connections where they can, and log nothing.
func (f *field) addPeers(ctx context.Context) error {
	if err := f.addConfigured(ctx, "nginx", "nginx.conf", nginxConfig, func(config string) []string {
		return []string{"nginx", "-p", f.dir, "-c", config, "-g", "daemon off;"}
	}); err != nil {
		return err
	}
	if err := f.addConfigured(ctx, "haproxy", "haproxy.cfg", haproxyConfig, func(config string) []string {
		return []string{"haproxy", "-db", "-f", config}
	}); err != nil {
		return err
	}
	if err := f.add("kubectl proxy", "http", f.kubectlProxy); err != nil {
		return err
	}
	return f.add("Go ReverseProxy", "https", func(listen string) (*process, error) {
		return self(f.dir, "goproxy", "-listen", listen, "-dir", f.dir, "-upstream", "https://"+f.address)
	})
}

func (f *field) addConfigured(_ context.Context, name, file, config string, argv func(file string) []string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%s is needed as a peer: %w", name, err)
	}
	return f.add(name, "https", func(listen string) (*process, error) {
		path := filepath.Join(f.dir, file)
		text := os.Expand(config, func(k string) string {
			return map[string]string{"listen": listen, "upstream": f.address, "dir": f.dir}[k]
		})
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
		return start(f.dir, name, argv(path)...)
	})
}

// kubectlProxy has no TLS on the client's side: it needs that much less than the others.
func (f *field) kubectlProxy(listen string) (*process, error) {
	path := filepath.Join(f.dir, "kubectl.kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://%s', certificate-authority: '%s'}}]
users: [{name: u, user: {token: upstream-token}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, f.address, certPoolFile(f.dir))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(f.dir, "kubectl-proxy", kubectl(), "--kubeconfig", path, "proxy", "--address=127.0.0.1", "--port="+listen[len("127.0.0.1:"):])
}

func isFile(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.Mode().IsRegular()
}

// kubectl is that of the demo's cluster, built from source, where it is there.
func kubectl() string {
	if cache, err := os.UserCacheDir(); err == nil {
		if built := filepath.Join(cache, "gatebook", "cluster", "bin", "kubectl"); isFile(built) {
			return built
		}
	}
	return "kubectl"
}

// AES-128-GCM everywhere, which is what Go prefers. Bodies stay in memory: nginx would else write lists to files.
const nginxConfig = `worker_processes 2;
pid ${dir}/nginx.pid;
error_log ${dir}/nginx-error.log warn;
events { worker_connections 2048; }
http {
  access_log off;
  client_body_temp_path ${dir}/nginx-body;
  proxy_temp_path ${dir}/nginx-proxy;
  fastcgi_temp_path ${dir}/nginx-fastcgi;
  uwsgi_temp_path ${dir}/nginx-uwsgi;
  scgi_temp_path ${dir}/nginx-scgi;
  upstream api { server ${upstream}; keepalive 64; keepalive_requests 1000000; }
  server {
    listen ${listen} ssl;
    ssl_certificate ${dir}/tls.crt;
    ssl_certificate_key ${dir}/tls.key;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    keepalive_requests 1000000;
    location / {
      proxy_pass https://api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate ${dir}/ca.crt;
      proxy_ssl_name localhost;
      proxy_buffer_size 16k;
      proxy_buffers 16 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
    }
  }
}
`

const haproxyConfig = `global
  nbthread 2
  tune.bufsize 32768
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind ${listen} ssl crt ${dir}/haproxy.pem ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256
  default_backend api
backend api
  server api ${upstream} ssl verify required ca-file ${dir}/ca.crt verifyhost localhost ciphersuites TLS_AES_128_GCM_SHA256 pool-max-conn 64
`
