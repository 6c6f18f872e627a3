// What the page shows before the first device: two lines to paste that make one.

export function FirstEvent({ project, keyId }: { project: string; keyId: string }) {
  const body = JSON.stringify({
    targetName: `projects/${project}/devices/freezer-1`,
    eventType: 'temperature',
    data: { temperature: { value: -18.4 } },
  })
  return (
    <section class="first-event" aria-labelledby="first-event">
      <h2 id="first-event">No devices yet</h2>
      <p>A device appears here with its first event. Publish one over HTTP (you will be asked for the secret):</p>
      <pre>
        <code>
          {`curl -u '${keyId}' -H 'content-type: application/json' \\\n  -d '${body}' \\\n  ${location.origin}/v2/projects/${project}/events`}
        </code>
      </pre>
      <p>or over MQTT:</p>
      <pre>
        <code>
          {`mosquitto_pub -h ${location.hostname} -u '${keyId}' -P "$SECRET" -q 1 \\\n  -t projects/${project}/devices/freezer-1/events/temperature -m -18.4`}
        </code>
      </pre>
      <p class="quiet">This page is already listening: there is no need to load it again.</p>
    </section>
  )
}
