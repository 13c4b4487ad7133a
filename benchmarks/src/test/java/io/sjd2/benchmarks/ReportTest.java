package io.sjd2.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.sjd2.io.Json;
import io.sjd2.kernel.cpu.CpuPeak;
import io.sjd2.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReportTest {
    private static final Machine MACHINE =
            new Machine("A CPU", 2, 8L << 30, 0.1, "avx512", "25", "GCC 12.2.0", "abc", 20e9, 30e9, 100e9, 200e9);

    @TempDir
    Path folder;

    private static Report report() {
        Map<String, String> parameters = Map.of("model", "janus-pro-1b", "dtype", "bf16", "rows", "16");
        Measured memory = measured("Matmul", parameters, Cost.streaming(2e6, 4e6, DType.BF16, 16));
        Measured arithmetic = measured("Conv", parameters, Cost.of(1e3, 20e6, DType.BF16, 16));
        Measured picture = Measured.of("Generate", Map.of("decoder", "ar"), 5e5, 3, 1e6, null, null);
        return new Report(
                "2026-11-24",
                MACHINE,
                List.of(memory.against("pytorch", 300), arithmetic, picture),
                List.of(new Projection("janus-pro-1b", "sjd2-mc", 16, 5, 12, 100_000, 125_000)));
    }

    private static Measured measured(String name, Map<String, String> parameters, Cost cost) {
        Map<CpuPeak, Double> roofs = MACHINE.roofs(cost).stream().collect(Collectors.toMap(r -> r, MACHINE::peak));
        return Measured.of(name, parameters, 200, 9, 0, cost, Measured.Bound.tightest(cost, roofs));
    }

    @Test
    void theRoofThatTakesLongerBinds() {
        Measured memory = report().results().get(0);
        // 2 MB at 20 GB/s take 100 us, 4 Mflop at 200 Gflop/s 20 us; it took 200 us.
        assertThat(memory.roof()).isEqualTo("memory");
        assertThat(memory.rooflineShare()).isCloseTo(0.5, Offset.offset(1e-9));
        assertThat(memory.gbPerSecond()).isCloseTo(10.0, Offset.offset(1e-9));
        assertThat(memory.gflopPerSecond()).isCloseTo(20.0, Offset.offset(1e-9));
        assertThat(memory.ratio()).isCloseTo(1.5, Offset.offset(1e-9));
        Measured arithmetic = report().results().get(1);
        assertThat(arithmetic.roof()).isEqualTo("arithmetic");
        assertThat(arithmetic.rooflineShare()).isCloseTo(0.5, Offset.offset(1e-9));
    }

    @Test
    void whereTwoRoofsAreNearBothAreTaken() {
        // 100 us of memory, 80 us of arithmetic.
        Cost near = Cost.streaming(2e6, 16e6, DType.BF16, 16);
        assertThat(MACHINE.roofs(near)).containsExactly(CpuPeak.READ, CpuPeak.BF16);
        Measured.Bound bound = Measured.Bound.tightest(near, Map.of(CpuPeak.READ, 30e9, CpuPeak.BF16, 200e9));
        assertThat(bound).isEqualTo(new Measured.Bound(CpuPeak.BF16, 200e9));
        assertThat(MACHINE.roofs(Cost.streaming(2e6, 4e6, DType.BF16, 1))).containsExactly(CpuPeak.READ);
        assertThat(MACHINE.roofs(Cost.of(1e3, 20e6, DType.F32, 64))).containsExactly(CpuPeak.F32);
        Cost nothing = Cost.of(1e3, 0, DType.BF16, 64);
        assertThat(MACHINE.roofs(nothing)).containsExactly(CpuPeak.BF16);
        assertThat(measured("WindowInput", Map.of("rows", "64"), nothing).rooflineShare())
                .isZero();
    }

    @Test
    void aShareIsOfThePeakThatWasTakenBesideTheBenchmark() {
        Cost cost = Cost.of(1e3, 20e6, DType.BF16, 16);
        Measured slower =
                Measured.of("Conv", Map.of("rows", "16"), 200, 9, 0, cost, new Measured.Bound(CpuPeak.BF16, 160e9));
        // 20 Mflop at 160 Gflop/s take 125 us; it took 200 us.
        assertThat(slower.rooflineShare()).isCloseTo(0.625, Offset.offset(1e-9));
        assertThat(slower.peakPerSecond()).isEqualTo(160e9);
        assertThat(report().text())
                .contains("The peak of reading, taken beside every product and pass that it bounds, was 20 to 20 GB/s");
    }

    @Test
    void jsonHoldsWhatWasMeasuredAndIsReadBack() throws IOException {
        Path file = Files.writeString(folder.resolve("report.json"), report().json());
        assertThat(Report.read(file)).isEqualTo(report());
        List<Json> results = Json.parse(report().jsonResults(), "results").items();
        assertThat(results.getFirst().keys())
                .contains(
                        "benchmark",
                        "dtype",
                        "rows",
                        "median_us",
                        "gb_per_s",
                        "gflop_per_s",
                        "roofline_share",
                        "roof",
                        "peak_per_s",
                        "peer",
                        "peer_median_us",
                        "ratio");
        assertThat(results.getLast().has("roofline_share")).as("of a picture").isFalse();
    }

    @Test
    void aProjectionIsCompressionTimesWhatAnIterationCosts() {
        Projection projection = report().projections().getFirst();
        assertThat(projection.conversion()).isCloseTo(0.8, Offset.offset(1e-9));
        assertThat(projection.speedup()).isCloseTo(4, Offset.offset(1e-9));
        assertThat(report().text()).contains("4.00 times the speed of ar, conversion 0.80");
    }

    @Test
    void aSelectionIsAllItsPoints() {
        Suite.Selection selection = Suite.Selection.of(MatmulBenchmark.class, "dtype", "f32,bf16", "rows", "1,16,64");
        assertThat(selection.points()).hasSize(selection.size()).doesNotHaveDuplicates();
        assertThat(selection.points().getLast().parameters()).isEqualTo(Map.of("dtype", "bf16", "rows", "64"));
        assertThat(selection.points()).allMatch(point -> point.size() == 1);
    }

    @Test
    void thePageHoldsReportsAndNothingElse() throws IOException {
        Files.writeString(folder.resolve("other.json"), "[1]");
        assertThat(PerformancePage.text(folder)).contains("No report");
        Files.writeString(folder.resolve("report.json"), report().json());
        assertThat(PerformancePage.text(folder))
                .contains(
                        "A CPU", "(../benchmarks/results/report.json)", "| Matmul | janus-pro-1b | bf16 | 16 | 200.0 |")
                .doesNotContain("No report");
    }

    @Test
    void committedPageIsThatOfTheCommittedReports() throws IOException {
        Path home = Path.of(System.getProperty("sjd2.home", ".."));
        assertThat(Files.readString(home.resolve("docs/performance.md")))
                .as("run benchmarks/page.sh")
                .isEqualTo(PerformancePage.text(home.resolve("benchmarks/results")));
    }

    @Test
    void everySelectionHasACostFromItsParameters() {
        for (Suite.Selection selection : Suite.sensible()) {
            Map<String, String> first = new HashMap<>();
            selection.parameters().forEach((name, values) -> first.put(name, values.split(",")[0]));
            Cost cost = Suite.cost(selection.type(), first);
            boolean whole = List.of("Generate", "Load").contains(selection.name());
            assertThat(cost == null).as(selection.name()).isEqualTo(whole);
        }
        int processes =
                Suite.sensible().stream().mapToInt(Suite.Selection::size).sum();
        // Some five seconds each, in ten minutes.
        assertThat(processes).isBetween(40, 110);
    }
}
