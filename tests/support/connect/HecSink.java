package connector.tests;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.errors.RetriableException;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

/**
 * Stands in for Splunk Connect for Kafka, which is in no registry: reads the same settings, makes the same events of
 * records (its JacksonStructModule, its addHeaders), and posts them to the HTTP Event Collector without acknowledgement.
 */
public final class HecSink extends SinkConnector {
    private Map<String, String> settings;

    @Override
    public void start(Map<String, String> given) {
        settings = given;
    }

    @Override
    public Class<? extends Task> taskClass() {
        return HecTask.class;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int number) {
        return Collections.nCopies(number, settings);
    }

    @Override
    public void stop() {}

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public String version() {
        return "stand-in";
    }

    /** One task. */
    public static final class HecTask extends SinkTask {
        private final HttpClient client = HttpClient.newHttpClient();
        private final ObjectMapper mapper = new ObjectMapper();
        private Map<String, String> settings;
        private List<String> topics;

        @Override
        public String version() {
            return "stand-in";
        }

        @Override
        public void start(Map<String, String> given) {
            settings = given;
            topics = List.of(given.get("topics").split(","));
            SimpleDateFormat times = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss.SSSZ");
            times.setTimeZone(TimeZone.getTimeZone("UTC"));
            mapper.setDateFormat(times);
        }

        @Override
        public void stop() {}

        @Override
        public void put(Collection<SinkRecord> records) {
            List<String> lines = new ArrayList<>();
            try {
                for (SinkRecord record : records) {
                    lines.add(mapper.writeValueAsString(event(record)));
                }
                if (!lines.isEmpty()) {
                    post(String.join("\n", lines));
                }
            } catch (IOException | InterruptedException error) {
                throw new RetriableException(error);
            }
        }

        private Map<String, Object> event(SinkRecord record) {
            int place = topics.indexOf(record.topic());
            Map<String, Object> event = new LinkedHashMap<>();
            event.put("time", record.timestamp() / 1000.0);
            Header host = record.headers().lastWithName(settings.getOrDefault("splunk.header.host", "splunk.header.host"));
            if (host != null && host.value() != null) {
                event.put("host", host.value().toString());
            }
            event.put("source", settings.get("splunk.sources").split(",")[place]);
            event.put("sourcetype", settings.get("splunk.sourcetypes").split(",")[place]);
            event.put("index", settings.get("splunk.indexes").split(",")[place]);
            event.put("event", plain(record.value()));
            Map<String, Object> fields = new LinkedHashMap<>();
            for (String name : settings.get("splunk.header.custom").split(",\\s?")) {
                Header header = record.headers().lastWithName(name);
                if (header != null) {
                    fields.put(name, String.valueOf(header.value()));
                }
            }
            event.put("fields", fields);
            return event;
        }

        private static Object plain(Object value) {
            if (value instanceof Struct struct) {
                Map<String, Object> content = new LinkedHashMap<>();
                for (Field field : struct.schema().fields()) {
                    content.put(field.name(), plain(struct.get(field)));
                }
                return content;
            }
            if (value instanceof List<?> items) {
                List<Object> content = new ArrayList<>();
                items.forEach(item -> content.add(plain(item)));
                return content;
            }
            return value;
        }

        private void post(String body) throws IOException, InterruptedException {
            HttpRequest request = HttpRequest.newBuilder(URI.create(settings.get("splunk.hec.uri") + "/services/collector/event"))
                .header("Authorization", "Splunk " + settings.get("splunk.hec.token"))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new IOException("the collector answered " + answer.statusCode());
            }
        }
    }
}
