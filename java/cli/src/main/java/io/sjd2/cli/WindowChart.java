package io.sjd2.cli;

import io.sjd2.WindowPlan;
import io.sjd2.tensor.RgbImage;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.util.List;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/// The curve behind window `auto` as a picture: what a pass costs, and what comes of it.
final class WindowChart {
    private static final int WIDTH = 560;
    private static final int HEIGHT = 400;
    private static final Color LINE = new Color(0x0b5cad);
    private static final Color CHOICE = new Color(0xc4500c);

    private WindowChart() {}

    /// Two charts side by side; the chosen window is marked in both.
    static RgbImage draw(WindowPlan plan, String model) {
        // No screen is needed, and none is looked for.
        System.setProperty("java.awt.headless", "true");
        List<WindowPlan.Point> points = plan.points();
        double[] windows = points.stream().mapToDouble(WindowPlan.Point::window).toArray();
        XYChart cost = chart(
                model + ": what a pass costs",
                "ms per pass",
                windows,
                points.stream().mapToDouble(WindowPlan.Point::msPerPass).toArray(),
                plan.window(),
                plan.choice().msPerPass());
        XYChart speed = chart(
                plan.decoder() + ": speed over one row per pass",
                "times as fast",
                windows,
                points.stream().mapToDouble(plan::predictedSpeedup).toArray(),
                plan.window(),
                plan.predictedSpeedup());
        BufferedImage canvas = new BufferedImage(2 * WIDTH, HEIGHT, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = canvas.createGraphics();
        cost.paint(graphics, WIDTH, HEIGHT);
        graphics.translate(WIDTH, 0);
        speed.paint(graphics, WIDTH, HEIGHT);
        graphics.dispose();
        return pixels(canvas);
    }

    private static XYChart chart(String title, String axis, double[] x, double[] y, int chosen, double value) {
        XYChart chart = new XYChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .title(title)
                .xAxisTitle("window (rows per pass)")
                .yAxisTitle(axis)
                .build();
        chart.getStyler()
                .setYAxisMin(0.0)
                .setXAxisMin(0.0)
                .setChartBackgroundColor(Color.WHITE)
                .setPlotBorderVisible(false)
                .setChartTitleFont(new Font(Font.SANS_SERIF, Font.BOLD, 15))
                .setLegendPosition(Styler.LegendPosition.InsideSE);
        chart.addSeries(series(axis), x, y)
                .setMarker(SeriesMarkers.CIRCLE)
                .setMarkerColor(LINE)
                .setLineColor(LINE)
                .setLineWidth(2);
        chart.addSeries("auto: " + chosen, new double[] {chosen}, new double[] {value})
                .setMarker(SeriesMarkers.DIAMOND)
                .setMarkerColor(CHOICE)
                .setLineColor(CHOICE);
        return chart;
    }

    private static String series(String axis) {
        return axis.startsWith("ms") ? "measured" : "expected";
    }

    private static RgbImage pixels(BufferedImage canvas) {
        RgbImage image = RgbImage.blank(canvas.getWidth(), canvas.getHeight());
        int[] argb = canvas.getRGB(0, 0, canvas.getWidth(), canvas.getHeight(), null, 0, canvas.getWidth());
        for (int i = 0; i < argb.length; i++) {
            image.rgb()[3 * i] = (byte) (argb[i] >> 16);
            image.rgb()[3 * i + 1] = (byte) (argb[i] >> 8);
            image.rgb()[3 * i + 2] = (byte) argb[i];
        }
        return image;
    }
}
